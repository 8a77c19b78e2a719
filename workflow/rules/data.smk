# Cohort file -> harmonised cohort with donor splits.

for name, cohort in COHORTS.items():
    if "simulate" in cohort:

        rule:
            name:
                f"simulate_{name}"
            output:
                cohort_files(cohort),
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
        lambda w: cohort_files(COHORTS[w.cohort]),
        checkpoint=[CONFIG["model"]["checkpoint"]] if CONFIG["model"]["checkpoint"] else [],
    output:
        cohort=f"{RUN}/{{cohort}}/cohort.h5ad",
        vocabulary=f"{RUN}/{{cohort}}/vocab.json",
        qc=f"{RUN}/{{cohort}}/qc.tsv",
        histograms=f"{RUN}/{{cohort}}/qc_histograms.tsv",
        donors=f"{RUN}/{{cohort}}/donors.tsv",
        coverage=f"{RUN}/{{cohort}}/coverage.tsv",
        provenance=provenance(f"{RUN}/{{cohort}}", "preprocess"),
    log:
        f"{RUN}/logs/preprocess/{{cohort}}.log",
    conda:
        "../../envs/scsw.yaml"
    threads: 4
    resources:
        gpu=0,
        mem_mb=6000,
        runtime=480,
    params:
        path=lambda w: COHORTS[w.cohort]["path"],
        request=lambda w: request_options(COHORTS[w.cohort]),
        work=f"{RUN}/.work/preprocess",
        out=lambda w, output: os.path.dirname(output.cohort),
        config=json.dumps(
            {
                "preprocess": CONFIG["preprocess"],
                "model": {"checkpoint": CONFIG["model"]["checkpoint"]},
            }
        ),
        simulated=SIMULATED,
        code=lambda w: preprocess_code(COHORTS[w.cohort]),
    shell:
        "scsw preprocess {params.path:q} --out {params.out:q} --work {params.work:q} --training"
        " --cohort {wildcards.cohort} {params.request} --threads {threads}"
        " --config {params.config:q}"
        " {params.simulated} &> {log}"
