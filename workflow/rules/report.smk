# Tables -> figures and report, one per cohort.


rule report:
    input:
        cohort=f"{RUN}/{{cohort}}/cohort.h5ad",
        gathered=[
            f"{RUN}/{{cohort}}/{name}"
            for name in (
                "qc.tsv",
                "qc_histograms.tsv",
                "donors.tsv",
                "coverage.tsv",
                "verdicts.parquet",
                "performance.parquet",
                "stability.parquet",
                "spike_stability.parquet",
                "spike_summary.parquet",
                "profile_agreement.parquet",
                "pathways.parquet",
                "stages.parquet",
                "change_points.parquet",
                "stage_order.parquet",
                "controls.parquet",
                "biomarkers.tsv",
                "view_agreement.parquet",
                "gene_ranks.parquet",
            )
        ],
        searched=lambda w: [
            f"{f}/search/{table}.parquet"
            for f in real_folders(w.cohort) + control_folders(w.cohort)
            for table in ("spikes", "candidates", "paths", "origins", "other_inputs")
        ],
        models=lambda w: [f"{f}/model" for f in real_folders(w.cohort)],
        effects=lambda w: [
            f"{f}/prune/effects.parquet"
            for f in real_folders(w.cohort) + control_folders(w.cohort)
        ],
        quantized=lambda w: [f"{f}/prune/quantization.parquet" for f in quantized_folders(w.cohort)],
        mapped=lambda w: [
            f"{f}/map/{table}.parquet" for f in real_folders(w.cohort) for table in MAP_TABLES
        ],
        overlaps=lambda w: [f"{f}/enrich/set_overlaps.parquet" for f in real_folders(w.cohort)],
        components=lambda w: [
            f"{f}/{table}.parquet"
            for f in real_folders(w.cohort)
            for table in [f"components/{name}" for name in COMPONENT_TABLES]
            + [f"component_links/{name}" for name in LINK_TABLES]
            if CONFIG["map"]["components"]
        ],
        replication=rules.replicate.output.tables,
        elsewhere=lambda w: external_tables(w.cohort),
    output:
        report=f"{RUN}/{{cohort}}/report.html",
        figures=report(
            directory(f"{RUN}/{{cohort}}/figures"),
            patterns=["{name}.svg"],
            category="{cohort}",
            labels={"figure": "{name}"},
        ),
        methods=f"{RUN}/{{cohort}}/methods.md",
        numbers=f"{RUN}/{{cohort}}/numbers.json",
        provenance=provenance(f"{RUN}/{{cohort}}", "report"),
    log:
        f"{RUN}/logs/report/{{cohort}}.log",
    conda:
        "../../envs/scsw.yaml"
    resources:
        gpu=0,
        mem_mb=16000,
        runtime=60,
    params:
        folder=lambda w, output: os.path.dirname(output.report),
        replication=lambda w, input: os.path.dirname(input.replication[0]),
        config=json.dumps(CONFIG, sort_keys=True),
        code=code_hash("scsw.report.build"),
    shell:
        "scsw report {params.folder:q} --cohort {wildcards.cohort} --config {params.config:q}"
        " --replication {params.replication:q} &> {log:q}"
