# scsw: cohort file -> harmonised cohort -> fine-tuned scGPT -> candidates -> pruning effects
#       -> genes and pathways -> disease stages -> figures and report.
# Each rule is one `scsw` sub-command. Settings: config/README.md. Outputs: docs/outputs.md.
from snakemake.utils import min_version

min_version("9.0")

# A --configfile replaces the demo's config; it does not add to it.
if not workflow.configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/search.smk"
include: "workflow/rules/prune.smk"
include: "workflow/rules/controls.smk"
include: "workflow/rules/biology.smk"
include: "workflow/rules/gather.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        expand(f"{RUN}/{{cohort}}/report.html", cohort=COHORTS),
