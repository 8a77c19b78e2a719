# Fine-tuned scGPT -> spikes and frozen candidates, on the discovery donors.


SEARCH_TABLES = [
    "candidates",
    "spikes",
    "origins",
    "families",
    "first_order",
    "weights",
    "paths",
    "other_inputs",
    "profiles",
]


# With one shard the search of a model is one job. Otherwise the weights whose slopes are wanted are
# scattered over jobs by block, and `search` gathers them.
SEARCH_SHARDS = CONFIG["search"]["shards"]


rule search_screen:
    input:
        model=model_of,
        cohort=f"{RUN}/{{cohort}}/cohort.h5ad",
    output:
        files=temp(SCREEN_FILES),
        provenance=provenance(f"{MODEL}/search/screen", "search-screen"),
    log:
        f"{RUN}/logs/search_screen/{{cohort}}-{{arm}}-{{seed}}.log",
    conda:
        "../../envs/scsw.yaml"
    threads: MODEL_THREADS
    resources:
        gpu=int(USES_GPU),
        mem_mb=32000,
        runtime=240,
    params:
        out=lambda w, output: os.path.dirname(output.provenance),
        config=settings("search", "compute"),
        code=code_hash("scsw.superweight.search.search_shards"),
    shell:
        "scsw search-screen {input.model:q} --cohort {input.cohort:q} --out {params.out:q}"
        " --config {params.config:q} &> {log:q}"


rule search_slopes:
    input:
        model=model_of,
        cohort=f"{RUN}/{{cohort}}/cohort.h5ad",
        screen=rules.search_screen.output.files,
    output:
        slopes=temp(f"{MODEL}/search/screen/slopes/{{shard}}-of-{SEARCH_SHARDS}.parquet"),
        provenance=provenance(
            f"{MODEL}/search/screen/slopes", f"search-slopes-{{shard}}-of-{SEARCH_SHARDS}"
        ),
    log:
        f"{RUN}/logs/search_slopes/{{cohort}}-{{arm}}-{{seed}}-{{shard}}.log",
    conda:
        "../../envs/scsw.yaml"
    threads: MODEL_THREADS
    resources:
        gpu=int(USES_GPU),
        mem_mb=32000,
        runtime=240,
    params:
        screen=lambda w, input: os.path.dirname(input.screen[0]),
        config=settings("search", "compute"),
        code=code_hash("scsw.superweight.search.search_shards"),
    shell:
        "scsw search-slopes {input.model:q} --cohort {input.cohort:q} --screen {params.screen:q}"
        " --config {params.config:q} --shard {wildcards.shard} &> {log:q}"


rule search:
    input:
        model=model_of,
        cohort=f"{RUN}/{{cohort}}/cohort.h5ad",
        start=searched_start,
        screen=screened,
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
        screen=screen_option,
        code=code_hash("scsw.superweight.search.search"),
    shell:
        "scsw search {input.model:q} --cohort {input.cohort:q} --out {params.out:q} {params.start}"
        " {params.screen} --config {params.config:q} --arm {wildcards.arm}"
        " --seed {wildcards.seed} &> {log:q}"
