# Candidates -> effects on the test donors -> verdicts.

N_SHARDS = CONFIG["prune"]["shards"]
PRUNED_TABLES = ["candidates", "families", "spikes"]


rule prune:
    input:
        model=model_of,
        cohort=f"{RUN}/{{cohort}}/cohort.h5ad",
        searched=[f"{MODEL}/search/{name}.parquet" for name in PRUNED_TABLES],
    output:
        effects=f"{MODEL}/prune/shards/{{shard}}-of-{N_SHARDS}.parquet",
        provenance=provenance(f"{MODEL}/prune/shards", f"prune-{{shard}}-of-{N_SHARDS}"),
    log:
        f"{RUN}/logs/prune/{{cohort}}-{{arm}}-{{seed}}-{{shard}}.log",
    priority: 5
    conda:
        "../../envs/scsw.yaml"
    threads: MODEL_THREADS
    resources:
        gpu=int(USES_GPU),
        mem_mb=32000,
        runtime=1440,
    params:
        searched=lambda w, input: os.path.dirname(input.searched[0]),
        config=settings("search", "prune", "compute"),
        code=code_hash("scsw.superweight.pruning.prune"),
    shell:
        "scsw prune {input.model:q} --cohort {input.cohort:q} --searched {params.searched:q}"
        " --out {output.effects:q} --config {params.config:q} --arm {wildcards.arm}"
        " --seed {wildcards.seed} --shard {wildcards.shard} &> {log:q}"


rule verdict:
    input:
        shards=expand(
            f"{MODEL}/prune/shards/{{shard}}-of-{N_SHARDS}.parquet",
            shard=range(N_SHARDS),
            allow_missing=True,
        ),
        model=model_of,
        candidates=f"{MODEL}/search/candidates.parquet",
        spikes=f"{MODEL}/search/spikes.parquet",
        weights=f"{MODEL}/search/weights.parquet",
        cohort=f"{RUN}/{{cohort}}/cohort.h5ad",
    output:
        effects=f"{MODEL}/prune/effects.parquet",
        verdicts=f"{MODEL}/prune/verdicts.parquet",
        pairs=f"{MODEL}/prune/pairs.parquet",
        metrics=f"{MODEL}/prune/metrics.parquet",
        recovery=f"{MODEL}/prune/recovery.parquet",
        families=f"{MODEL}/prune/family_effects.parquet",
        provenance=provenance(f"{MODEL}/prune", "verdict"),
    log:
        f"{RUN}/logs/verdict/{{cohort}}-{{arm}}-{{seed}}.log",
    conda:
        "../../envs/scsw.yaml"
    resources:
        gpu=0,
        mem_mb=16000,
        runtime=60,
    params:
        out=lambda w, output: os.path.dirname(output.verdicts),
        config=settings("search", "prune", "statistics"),
        code=code_hash("scsw.superweight.verdict.verdicts"),
    shell:
        "scsw verdict {input.shards:q} --candidates {input.candidates:q}"
        " --model {input.model:q} --spikes {input.spikes:q} --weights {input.weights:q} --cohort {input.cohort:q}"
        " --out {params.out:q} --config {params.config:q} &> {log:q}"


rule quantize:
    input:
        model=model_of,
        cohort=f"{RUN}/{{cohort}}/cohort.h5ad",
        candidates=f"{MODEL}/search/candidates.parquet",
    output:
        table=f"{MODEL}/prune/quantization.parquet",
        provenance=provenance(f"{MODEL}/prune", "quantize"),
    log:
        f"{RUN}/logs/quantize/{{cohort}}-{{arm}}-{{seed}}.log",
    conda:
        "../../envs/scsw.yaml"
    threads: MODEL_THREADS
    resources:
        gpu=int(USES_GPU),
        mem_mb=32000,
        runtime=1440,
    params:
        config=settings("quantize", "compute"),
        code=code_hash("scsw.superweight.quantization.quantize"),
    shell:
        "scsw quantize {input.model:q} --cohort {input.cohort:q}"
        " --candidates {input.candidates:q} --out {output.table:q} --config {params.config:q}"
        " --arm {wildcards.arm} --seed {wildcards.seed} &> {log:q}"
