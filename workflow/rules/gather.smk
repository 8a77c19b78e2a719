# A cohort's tables over the seeds and arms of its models.

STAGED = [f"stages/{name}" for name in STAGE_TABLES]
GATHERED_TABLES = [
    *("verdicts", "performance", "stability", "spike_stability", "spike_summary"),
    *("profile_agreement", "pathways", *STAGE_TABLES),
]


rule gather:
    input:
        real=lambda w: [
            f"{f}/{table}.parquet"
            for f in real_folders(w.cohort)
            for table in ("prune/verdicts", "enrich/pathways", *STAGED)
        ],
        models=lambda w: [
            f"{f}/model"
            for f in real_folders(w.cohort) + control_folders(w.cohort)
            if Path(f).parent.name not in UNTUNED
        ],
        controls=lambda w: [f"{f}/prune/verdicts.parquet" for f in control_folders(w.cohort)],
        searched=lambda w: [
            f"{f}/search/{table}.parquet"
            for f in real_folders(w.cohort)
            for table in ("spikes", "candidates", "profiles", "other_inputs")
        ]
        + [f"{f}/search/spikes.parquet" for f in control_folders(w.cohort)],
    output:
        tables=[f"{RUN}/{{cohort}}/{name}.parquet" for name in GATHERED_TABLES],
        provenance=provenance(f"{RUN}/{{cohort}}", "gather"),
    log:
        f"{RUN}/logs/gather/{{cohort}}.log",
    conda:
        "../../envs/scsw.yaml"
    resources:
        gpu=0,
    params:
        folders=lambda w: real_folders(w.cohort) + control_folders(w.cohort),
        out=lambda w, output: os.path.dirname(output.tables[0]),
        config=settings(
            model=["checkpoint", "init_seed"], search=["spike_ratio"], statistics=["seed"]
        ),
        simulated=SIMULATED,
        code=code_hash("scsw.superweight.stability.gather"),
    shell:
        "scsw gather {params.folders:q} --out {params.out:q} --config {params.config:q}"
        " {params.simulated} &> {log:q}"
