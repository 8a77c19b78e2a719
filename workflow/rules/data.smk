# Cohort file -> harmonised cohort with donor splits.

for name, cohort in COHORTS.items():
    if "simulate" in cohort:

        rule:
            name:
                f"simulate_{name}"
            output:
                input_files(cohort["source"], cohort["path"], cohort["clinical"]),
            log:
                f"{RUN}/logs/simulate/{name}.log",
            conda:
                "../../envs/scsw.yaml"
            resources:
                gpu=0,
            params:
                out=simulated_path(cohort["source"]),
                source=cohort["source"],
                options=simulate_options(cohort),
                code=code_hash("scsw.cohort.simulate"),
            shell:
                "scsw simulate --out {params.out:q} --source {params.source} {params.options} &> {log}"


rule preprocess:
    input:
        lambda w: input_files(
            COHORTS[w.cohort]["source"], COHORTS[w.cohort]["path"], COHORTS[w.cohort]["clinical"]
        ),
        checkpoint=[CONFIG["model"]["checkpoint"]] if CONFIG["model"]["checkpoint"] else [],
    output:
        cohort=f"{RUN}/{{cohort}}/cohort.h5ad",
        vocabulary=f"{RUN}/{{cohort}}/vocab.json",
        qc=f"{RUN}/{{cohort}}/qc.tsv",
        coverage=f"{RUN}/{{cohort}}/coverage.tsv",
        provenance=provenance(f"{RUN}/{{cohort}}", "preprocess"),
    log:
        f"{RUN}/logs/preprocess/{{cohort}}.log",
    conda:
        "../../envs/scsw.yaml"
    resources:
        gpu=0,
        mem_mb=16000,
        runtime=240,
    params:
        path=lambda w: COHORTS[w.cohort]["path"],
        source=lambda w: COHORTS[w.cohort]["source"],
        clinical=lambda w: (
            f"--clinical {shlex.quote(COHORTS[w.cohort]['clinical'])}"
            if COHORTS[w.cohort]["clinical"]
            else ""
        ),
        columns=lambda w: json.dumps(COHORTS[w.cohort]["columns"]),
        out=lambda w, output: os.path.dirname(output.cohort),
        config=json.dumps(
            {
                "preprocess": CONFIG["preprocess"],
                "model": {"checkpoint": CONFIG["model"]["checkpoint"]},
            }
        ),
        simulated=SIMULATED,
        code=code_hash("scsw.cohort.preprocess"),
    shell:
        "scsw preprocess {params.path:q} --out {params.out:q} --source {params.source}"
        " --cohort {wildcards.cohort} {params.clinical} --columns {params.columns:q}"
        " --config {params.config:q} {params.simulated} &> {log}"
