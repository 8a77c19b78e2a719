# Cohort file -> harmonised cohort with donor splits.

for name, cohort in COHORTS.items():
    if "simulate" in cohort:

        rule:
            name:
                f"simulate_{name}"
            output:
                COHORT_FILES[name],
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
                code=code_hash("scsw.cohort.simulation.simulate"),
            shell:
                "scsw simulate --out {params.out:q} --source {params.source} {params.options} &> {log:q}"


rule preprocess:
    input:
        lambda w: COHORT_FILES[w.cohort],
        checkpoint=CHECKPOINT_INPUT,
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
        config=settings("preprocess", model=["checkpoint"]),
        simulated=SIMULATED,
        code=lambda w: PREPROCESS_CODE[w.cohort],
    shell:
        "scsw preprocess {params.path:q} --out {params.out:q} --work {params.work:q} --training"
        " --cohort {wildcards.cohort} {params.request} --threads {threads}"
        " --config {params.config:q}"
        " {params.simulated} &> {log:q}"


rule preprocess_bulk:
    input:
        lambda w: BULK_FILES[w.bulk],
    output:
        expression=f"{RUN}/external/{{bulk}}/external.h5ad",
        qc=f"{RUN}/external/{{bulk}}/qc.tsv",
        provenance=provenance(f"{RUN}/external/{{bulk}}", "preprocess"),
    log:
        f"{RUN}/logs/preprocess_bulk/{{bulk}}.log",
    conda:
        "../../envs/scsw.yaml"
    resources:
        gpu=0,
        mem_mb=6000,
        runtime=60,
    params:
        path=lambda w: BULK[w.bulk]["path"],
        source=lambda w: BULK[w.bulk]["source"],
        tables=lambda w: bulk_options(BULK[w.bulk]),
        out=lambda w, output: os.path.dirname(output.expression),
        # Its own vocabulary is not read, so that of the checkpoint need not be there.
        config=json.dumps({"preprocess": {"vocabulary": "cohort"}}),
        simulated=SIMULATED,
        code=lambda w: code_hash(
            "scsw.cohort.preprocess", f"scsw.cohort.readers.{BULK[w.bulk]['source']}"
        ),
    shell:
        "scsw preprocess {params.path:q} --out {params.out:q} --source {params.source}"
        " --cohort {wildcards.bulk} {params.tables} --config {params.config:q}"
        " {params.simulated} &> {log:q}"


rule preprocess_spatial:
    input:
        lambda w: [TISSUE["path"]],
        checkpoint=CHECKPOINT_INPUT,
    output:
        tissue=f"{RUN}/spatial/{TISSUE['name']}/spatial.h5ad",
        tables=[
            f"{RUN}/spatial/{TISSUE['name']}/{name}"
            for name in ("vocab.json", "qc.tsv", "qc_histograms.tsv", "donors.tsv", "coverage.tsv")
        ],
        provenance=provenance(f"{RUN}/spatial/{TISSUE['name']}", "preprocess"),
    log:
        f"{RUN}/logs/preprocess_spatial/{TISSUE['name']}.log",
    conda:
        "../../envs/scsw.yaml"
    threads: 4
    resources:
        gpu=0,
        mem_mb=6000,
        runtime=480,
    params:
        path=TISSUE["path"],
        source=TISSUE["source"],
        name=TISSUE["name"],
        work=f"{RUN}/.work/preprocess",
        out=lambda w, output: os.path.dirname(output.tissue),
        config=settings("preprocess", model=["checkpoint"]),
        simulated=SIMULATED,
        code=code_hash("scsw.cohort.preprocess", f"scsw.cohort.readers.{TISSUE['source']}"),
    shell:
        "scsw preprocess {params.path:q} --out {params.out:q} --work {params.work:q}"
        " --source {params.source} --cohort {params.name} --threads {threads}"
        " --config {params.config:q} {params.simulated} &> {log:q}"
