# Remote cohort file -> local file, for the cohorts whose config says `fetch`.

for name, cohort in COHORTS.items():
    for number, (path, address) in enumerate(fetched_files(cohort).items(), start=1):

        rule:
            name:
                f"fetch_{name}_{number}"
            output:
                # Raw data: read-only, so that no rerun removes them before they come again.
                protected(path),
            log:
                f"{RUN}/logs/fetch/{name}_{number}.log",
            # Compute nodes often see no network. No hash of the code is a parameter here: an edit
            # must not make tens of gigabytes come again.
            localrule: True
            conda:
                "../../envs/scsw.yaml"
            resources:
                gpu=0,
            params:
                address=address,
            shell:
                "scsw fetch {params.address:q} --out {output:q} &> {log:q}"
