# Fine-tuned scGPT -> spikes and frozen candidates, on the discovery donors.


SEARCH_TABLES = [
    "candidates",
    "spikes",
    "origins",
    "families",
    "first_order",
    "paths",
    "data_free",
    "profiles",
]


rule search:
    input:
        model=model_of,
        cohort=f"{RUN}/{{cohort}}/cohort.h5ad",
        start=searched_start,
    output:
        tables=[f"{MODEL}/search/{name}.parquet" for name in SEARCH_TABLES],
        provenance=provenance(f"{MODEL}/search", "search"),
    log:
        f"{RUN}/logs/search/{{cohort}}-{{arm}}-{{seed}}.log",
    conda:
        "../../envs/scsw.yaml"
    threads: MODEL_THREADS
    resources:
        gpu=int(USES_GPU),
        mem_mb=32000,
        runtime=240,
    params:
        out=lambda w, output: os.path.dirname(output.tables[0]),
        config=settings("search", "compute"),
        start=lambda w, input: f"--start {shlex.quote(str(input.start))}" if input.start else "",
        code=code_hash("scsw.superweight.search"),
    shell:
        "scsw search {input.model:q} --cohort {input.cohort:q} --out {params.out:q} {params.start}"
        " --config {params.config:q} --arm {wildcards.arm} --seed {wildcards.seed} &> {log}"
