# Harmonised cohort -> starting model -> fine-tuned scGPT.


rule init:
    input:
        cohort=f"{RUN}/{{cohort}}/cohort.h5ad",
        vocabulary=f"{RUN}/{{cohort}}/vocab.json",
        checkpoint=CHECKPOINT_INPUT,
    output:
        model=directory(f"{MODEL}/init"),
        provenance=provenance(MODEL, "init"),
    log:
        f"{RUN}/logs/init/{{cohort}}-{{arm}}-{{seed}}.log",
    conda:
        "../../envs/scsw.yaml"
    resources:
        gpu=0,
        mem_mb=8000,
        runtime=30,
    params:
        config=settings("model"),
        fresh=lambda w: "--fresh" if w.arm == "untrained" else "",
        code=code_hash("scsw.scgpt.init"),
    shell:
        "scsw init --cohort {input.cohort:q} --out {output.model:q} {params.fresh}"
        " --config {params.config:q} --seed {wildcards.seed} &> {log:q}"


rule implant:
    input:
        start=f"{MODEL}/init",
        cohort=f"{RUN}/{{cohort}}/cohort.h5ad",
    output:
        model=directory(f"{MODEL}/implant"),
        provenance=provenance(MODEL, "implant"),
    log:
        f"{RUN}/logs/implant/{{cohort}}-{{arm}}-{{seed}}.log",
    conda:
        "../../envs/scsw.yaml"
    threads: MODEL_THREADS
    resources:
        gpu=0,
        mem_mb=16000,
        runtime=30,
    params:
        config=settings("compute"),
        code=code_hash("scsw.superweight.controls.implant"),
    shell:
        "scsw implant {input.start:q} --cohort {input.cohort:q} --out {output.model:q}"
        " --kind {wildcards.arm} --config {params.config:q} --seed {wildcards.seed} &> {log:q}"


rule finetune:
    input:
        start=start_of,
        cohort=f"{RUN}/{{cohort}}/cohort.h5ad",
    output:
        model=directory(f"{MODEL}/model"),
        provenance=provenance(MODEL, "finetune"),
    log:
        f"{RUN}/logs/finetune/{{cohort}}-{{arm}}-{{seed}}.log",
    # The longest jobs start first, so that no core idles at the end.
    priority: 10
    conda:
        "../../envs/scsw.yaml"
    # One process for each of compute.devices.
    threads: MODEL_THREADS * CONFIG["compute"]["devices"]
    resources:
        gpu=int(USES_GPU) * CONFIG["compute"]["devices"],
        mem_mb=64000,
        runtime=2880,
    params:
        work=f"{RUN}/.work/finetune",
        config=settings("finetune", "compute"),
        code=code_hash("scsw.scgpt.finetune"),
    shell:
        "scsw finetune {input.start:q} --cohort {input.cohort:q} --out {output.model:q}"
        " --work {params.work:q}"
        " --config {params.config:q} --arm {wildcards.arm} --seed {wildcards.seed} &> {log:q}"
