# Candidates -> genes -> pathways and disease stages -> replication -> biomarkers.

GENE_SETS = sorted(
    {path for key, value in CONFIG["enrich"].items() if key.endswith("gene_sets") for path in value}
)
MAP_TABLES = [
    *("gene_scores", "control_scores", "control_units"),
    *("donor_scores", "thinned_effects", "axis_scores"),
]
CONTROL_TABLES = [f"{MODEL}/map/{name}.parquet" for name in ("control_scores", "control_units")]
COMPONENT_TABLES = ("components", "component_effects", "component_donors")
LINK_TABLES = ("component_pathways", "component_stages")
STAGE_TABLES = ("stages", "change_points", "stage_order")
# Beside the workflow, wherever it is run.
AXES = os.path.join(workflow.basedir, "resources/gene_sets/ad_axes.gmt")
REPLICATION_TABLES = "candidates genes pathways stages stage_ranks summary".split()


rule map:
    input:
        model=model_of,
        cohort=f"{RUN}/{{cohort}}/cohort.h5ad",
        candidates=f"{MODEL}/search/candidates.parquet",
        axes=AXES,
    output:
        tables=[f"{MODEL}/map/{name}.parquet" for name in MAP_TABLES],
        provenance=provenance(f"{MODEL}/map", "map"),
    log:
        f"{RUN}/logs/map/{{cohort}}-{{arm}}-{{seed}}.log",
    conda:
        "../../envs/scsw.yaml"
    threads: MODEL_THREADS
    resources:
        gpu=int(USES_GPU),
        mem_mb=32000,
        runtime=480,
    params:
        out=lambda w, output: os.path.dirname(output.tables[0]),
        config=settings(
            "map",
            "statistics",
            "compute",
            prune=["max_cells_per_donor"],
            stages=["min_cells", "max_cells_per_donor"],
        ),
        code=code_hash("scsw.biology.map.map_genes"),
    shell:
        "scsw map {input.model:q} --cohort {input.cohort:q} --candidates {input.candidates:q}"
        " --out {params.out:q} --config {params.config:q} --arm {wildcards.arm}"
        " --seed {wildcards.seed} &> {log:q}"


rule components:
    input:
        model=model_of,
        cohort=f"{RUN}/{{cohort}}/cohort.h5ad",
        candidates=f"{MODEL}/search/candidates.parquet",
    output:
        tables=[f"{MODEL}/components/{name}.parquet" for name in COMPONENT_TABLES],
        provenance=provenance(f"{MODEL}/components", "components"),
    log:
        f"{RUN}/logs/components/{{cohort}}-{{arm}}-{{seed}}.log",
    conda:
        "../../envs/scsw.yaml"
    threads: MODEL_THREADS
    resources:
        gpu=int(USES_GPU),
        mem_mb=32000,
        runtime=480,
    params:
        out=lambda w, output: os.path.dirname(output.tables[0]),
        config=settings(
            "map",
            "statistics",
            "compute",
            prune=["max_cells_per_donor"],
            enrich=["top_genes"],
            stages=["min_cells"],
        ),
        code=code_hash("scsw.biology.components.components"),
    shell:
        "scsw components {input.model:q} --cohort {input.cohort:q}"
        " --candidates {input.candidates:q} --out {params.out:q} --config {params.config:q}"
        " --arm {wildcards.arm} --seed {wildcards.seed} &> {log:q}"


rule link_components:
    input:
        components=f"{MODEL}/components/components.parquet",
        activity=f"{MODEL}/components/component_donors.parquet",
        donors=f"{MODEL}/map/donor_scores.parquet",
        gene_sets=GENE_SETS,
    output:
        tables=[f"{MODEL}/component_links/{name}.parquet" for name in LINK_TABLES],
        provenance=provenance(f"{MODEL}/component_links", "link_components"),
    log:
        f"{RUN}/logs/link_components/{{cohort}}-{{arm}}-{{seed}}.log",
    conda:
        "../../envs/scsw.yaml"
    resources:
        gpu=0,
        mem_mb=16000,
        runtime=120,
    params:
        out=lambda w, output: os.path.dirname(output.tables[0]),
        config=settings("enrich", "stages", "statistics"),
        simulated=SIMULATED,
        code=code_hash("scsw.biology.components.component_links"),
    shell:
        "scsw link-components {input.components:q} --activity {input.activity:q}"
        " --donor-scores {input.donors:q} --out {params.out:q} --config {params.config:q}"
        " {params.simulated} &> {log:q}"


# With one shard the enrichment of a model is one job. Otherwise its candidates and views are
# scattered over jobs, and `enrich` gathers them.
ENRICH_SHARDS = CONFIG["enrich"]["shards"]


rule enrich_shard:
    input:
        scores=f"{MODEL}/map/gene_scores.parquet",
        candidates=f"{MODEL}/search/candidates.parquet",
        controls=CONTROL_TABLES,
        gene_sets=GENE_SETS,
    output:
        table=temp(f"{MODEL}/enrich/shards/{{shard}}-of-{ENRICH_SHARDS}.parquet"),
        provenance=provenance(f"{MODEL}/enrich/shards", f"enrich-{{shard}}-of-{ENRICH_SHARDS}"),
    log:
        f"{RUN}/logs/enrich_shard/{{cohort}}-{{arm}}-{{seed}}-{{shard}}.log",
    conda:
        "../../envs/scsw.yaml"
    resources:
        gpu=0,
        mem_mb=8000,
        runtime=240,
    params:
        out=lambda w, output: os.path.dirname(output.table),
        controls=lambda w, input: os.path.dirname(input.controls[0]),
        config=settings("enrich"),
        simulated=SIMULATED,
        code=code_hash("scsw.biology.enrich.enrich"),
    shell:
        "scsw enrich-shard {input.scores:q} --candidates {input.candidates:q} --out {params.out:q}"
        " --controls {params.controls:q} --config {params.config:q} --shard {wildcards.shard}"
        " {params.simulated} &> {log:q}"


rule enrich:
    input:
        scores=f"{MODEL}/map/gene_scores.parquet",
        candidates=f"{MODEL}/search/candidates.parquet",
        controls=CONTROL_TABLES,
        shards=enriched_shards,
        gene_sets=GENE_SETS,
    output:
        pathways=f"{MODEL}/enrich/pathways.parquet",
        overlaps=f"{MODEL}/enrich/set_overlaps.parquet",
        provenance=provenance(f"{MODEL}/enrich", "enrich"),
    log:
        f"{RUN}/logs/enrich/{{cohort}}-{{arm}}-{{seed}}.log",
    conda:
        "../../envs/scsw.yaml"
    resources:
        gpu=0,
        mem_mb=8000,
        runtime=240,
    params:
        out=lambda w, output: os.path.dirname(output.pathways),
        controls=lambda w, input: os.path.dirname(input.controls[0]),
        shards=shards_option,
        config=settings("enrich"),
        simulated=SIMULATED,
        code=code_hash("scsw.biology.enrich.enrich"),
    shell:
        "scsw enrich {input.scores:q} --candidates {input.candidates:q} --out {params.out:q}"
        " --controls {params.controls:q} {params.shards} --config {params.config:q}"
        " {params.simulated} &> {log:q}"


rule stages:
    input:
        scores=f"{MODEL}/map/donor_scores.parquet",
        thinned=f"{MODEL}/map/thinned_effects.parquet",
        axes=f"{MODEL}/map/axis_scores.parquet",
        effects=f"{MODEL}/prune/effects.parquet",
        candidates=f"{MODEL}/search/candidates.parquet",
    output:
        tables=[f"{MODEL}/stages/{name}.parquet" for name in STAGE_TABLES],
        provenance=provenance(f"{MODEL}/stages", "stages"),
    log:
        f"{RUN}/logs/stages/{{cohort}}-{{arm}}-{{seed}}.log",
    conda:
        "../../envs/scsw.yaml"
    resources:
        gpu=0,
        mem_mb=8000,
        runtime=60,
    params:
        out=lambda w, output: os.path.dirname(output.tables[0]),
        config=settings("stages", "statistics"),
        simulated=SIMULATED,
        code=code_hash("scsw.biology.stages.stages"),
    shell:
        "scsw stages {input.scores:q} --effects {input.effects:q} --out {params.out:q}"
        " --thinned-effects {input.thinned:q} --axis-scores {input.axes:q}"
        " --candidates {input.candidates:q} --config {params.config:q} {params.simulated} &> {log:q}"


rule replicate:
    input:
        gathered=[
            f"{RUN}/{cohort}/{name}"
            for cohort in COHORTS
            for name in ("stages.parquet", "verdicts.parquet", "donors.tsv")
        ],
        models=[
            f"{folder}/{name}"
            for cohort in COHORTS
            for folder in real_folders(cohort)
            for name in (
                "init",
                "map/gene_scores.parquet",
                "map/control_scores.parquet",
                "map/control_units.parquet",
                "search/spikes.parquet",
                "search/profiles.parquet",
            )
        ],
        gene_sets=GENE_SETS,
    output:
        tables=[f"{RUN}/replication/{name}.parquet" for name in REPLICATION_TABLES],
        provenance=provenance(f"{RUN}/replication", "replicate"),
    log:
        f"{RUN}/logs/replicate.log",
    conda:
        "../../envs/scsw.yaml"
    resources:
        gpu=0,
        mem_mb=16000,
        runtime=480,
    params:
        folders=[f"{RUN}/{cohort}" for cohort in COHORTS],
        seeds=json.dumps({cohort: seeds(cohort) for cohort in COHORTS}),
        out=lambda w, output: os.path.dirname(output.tables[0]),
        config=settings("replicate", "enrich", search=["spike_ratio"], statistics=["alpha"]),
        simulated=SIMULATED,
        code=code_hash("scsw.biology.replicate.replicate"),
    shell:
        "scsw replicate {params.folders:q} --seeds {params.seeds:q} --out {params.out:q}"
        " --config {params.config:q} {params.simulated} &> {log:q}"


rule external:
    input:
        mapped=lambda w: [
            f"{f}/{table}.parquet"
            for f in real_folders(w.cohort)
            for table in ("map/gene_scores", "search/candidates")
        ],
        donors=f"{RUN}/{{cohort}}/donors.tsv",
        cohorts=lambda w: [f"{RUN}/{other}/cohort.h5ad" for other in others(w.cohort)],
        bulks=[f"{RUN}/external/{name}/external.h5ad" for name in BULK],
    output:
        table=f"{RUN}/{{cohort}}/external.parquet",
        provenance=provenance(f"{RUN}/{{cohort}}", "external"),
    log:
        f"{RUN}/logs/external/{{cohort}}.log",
    conda:
        "../../envs/scsw.yaml"
    resources:
        gpu=0,
        mem_mb=8000,
        runtime=240,
    params:
        models=lambda w: real_folders(w.cohort),
        cohorts=lambda w, input: json.dumps(dict(zip(others(w.cohort), input.cohorts))),
        bulks=lambda w, input: json.dumps(dict(zip(BULK, input.bulks))),
        config=settings(
            "enrich",
            "stages",
            external=[key for key in CONFIG["external"] if key != "bulk"],
            statistics=["min_test_donors"],
            map=["matched_genes"],
        ),
        simulated=SIMULATED,
        code=code_hash("scsw.biology.external.external"),
    shell:
        "scsw external {params.models:q} --donors {input.donors:q} --out {output.table:q}"
        " --cohorts {params.cohorts:q} --bulks {params.bulks:q} --config {params.config:q}"
        " {params.simulated} &> {log:q}"


rule spatial:
    input:
        model=lambda w: f"{real_folders(w.cohort)[0]}/model",
        candidates=lambda w: f"{real_folders(w.cohort)[0]}/search/candidates.parquet",
        cohort=f"{RUN}/{{cohort}}/cohort.h5ad",
        tissue=f"{RUN}/spatial/{TISSUE['name']}/spatial.h5ad",
    output:
        table=f"{RUN}/{{cohort}}/spatial.parquet",
        provenance=provenance(f"{RUN}/{{cohort}}", "spatial"),
    log:
        f"{RUN}/logs/spatial/{{cohort}}.log",
    conda:
        "../../envs/scsw.yaml"
    threads: MODEL_THREADS
    resources:
        gpu=int(USES_GPU),
        mem_mb=32000,
        runtime=480,
    params:
        name=TISSUE["name"],
        seed=lambda w: seeds(w.cohort)[0],
        config=settings(
            "spatial",
            "stages",
            "compute",
            enrich=["max_candidates"],
            statistics=["min_test_donors"],
        ),
        simulated=SIMULATED,
        code=code_hash("scsw.biology.spatial.spatial"),
    shell:
        "scsw spatial {input.model:q} --cohort {input.cohort:q} --candidates {input.candidates:q}"
        " --tissue {input.tissue:q} --out {output.table:q} --name {params.name}"
        " --config {params.config:q} --seed {params.seed} {params.simulated} &> {log:q}"


rule biomarkers:
    input:
        scores=lambda w: [f"{f}/map/gene_scores.parquet" for f in real_folders(w.cohort)],
        gathered=[f"{RUN}/{{cohort}}/{name}.parquet" for name in ("pathways", "stages", "verdicts")],
        replication=f"{RUN}/replication/genes.parquet",
        controls=lambda w: [
            f"{f}/map/{name}.parquet"
            for f in real_folders(w.cohort)
            for name in ("control_scores", "control_units")
        ],
        gwas=CONFIG["biomarkers"]["gwas_gene_sets"],
    output:
        tables=[
            f"{RUN}/{{cohort}}/{name}"
            for name in ("biomarkers.tsv", "gene_ranks.parquet", "view_agreement.parquet")
        ],
        provenance=provenance(f"{RUN}/{{cohort}}", "biomarkers"),
    log:
        f"{RUN}/logs/biomarkers/{{cohort}}.log",
    conda:
        "../../envs/scsw.yaml"
    resources:
        gpu=0,
        mem_mb=8000,
        runtime=60,
    params:
        out=lambda w, output: os.path.dirname(output.tables[0]),
        config=settings("biomarkers", "enrich", "statistics"),
        simulated=SIMULATED,
        code=code_hash("scsw.biology.biomarkers.biomarkers"),
    shell:
        "scsw biomarkers {input.scores:q} --cohort-folder {params.out:q}"
        " --replication {input.replication:q} --out {params.out:q}"
        " --config {params.config:q} {params.simulated} &> {log:q}"
