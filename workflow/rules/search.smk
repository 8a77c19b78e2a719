# Fine-tuned scGPT -> spikes and frozen candidates, on the discovery donors.


rule search:
    input:
        model=model_of,
        cohort=f"{RUN}/{{cohort}}/cohort.h5ad",
    output:
        spikes=f"{MODEL}/search/spikes.parquet",
        candidates=f"{MODEL}/search/candidates.parquet",
        paths=f"{MODEL}/search/paths.parquet",
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
        out=lambda w, output: os.path.dirname(output.spikes),
        config=settings("search", "compute"),
        code=code_hash("scsw.superweight.search"),
    shell:
        "scsw search {input.model:q} --cohort {input.cohort:q} --out {params.out:q}"
        " --config {params.config:q} --arm {wildcards.arm} --seed {wildcards.seed} &> {log}"
