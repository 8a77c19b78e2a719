# Do the control arms come out as they must? The only rule that sees sealed.json.


rule controls:
    input:
        verdicts=lambda w: [f"{f}/prune/verdicts.parquet" for f in control_folders(w.cohort)],
        sealed=lambda w: [
            f"{f}/implant" for f in control_folders(w.cohort) if Path(f).parent.name in IMPLANTED
        ],
    output:
        table=f"{RUN}/{{cohort}}/controls.parquet",
        provenance=provenance(f"{RUN}/{{cohort}}", "controls"),
    log:
        f"{RUN}/logs/controls/{{cohort}}.log",
    conda:
        "../../envs/scsw.yaml"
    resources:
        gpu=0,
    params:
        folders=lambda w: control_folders(w.cohort),
        config=settings("statistics"),
        simulated=SIMULATED,
        code=code_hash("scsw.superweight.controls.judge_controls"),
    shell:
        "scsw controls {params.folders:q} --out {output.table:q} --config {params.config:q}"
        " {params.simulated} &> {log:q}"
