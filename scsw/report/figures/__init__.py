"""One module per figure; each has ``draw(tables)``, which returns a figure."""

from collections.abc import Callable

from matplotlib.figure import Figure

from scsw.report.figures import (
    biomarkers,
    cohort,
    collapse,
    components,
    controls,
    external,
    finetuning,
    genes,
    paths,
    pathways,
    pruning,
    quality_control,
    quantization,
    replication,
    spatial,
    spikes,
    stability,
    stage_order,
    stages,
)
from scsw.report.tables import Tables

DRAW: dict[str, Callable[[Tables], Figure]] = {
    "cohort": cohort.draw,
    "quality_control": quality_control.draw,
    "finetuning": finetuning.draw,
    "spikes": spikes.draw,
    "stability": stability.draw,
    "paths": paths.draw,
    "pruning": pruning.draw,
    "collapse": collapse.draw,
    "quantization": quantization.draw,
    "controls": controls.draw,
    "genes": genes.draw,
    "components": components.draw,
    "pathways": pathways.draw,
    "stages": stages.draw,
    "stage_order": stage_order.draw,
    "external": external.draw,
    "spatial": spatial.draw,
    "replication": replication.draw,
    "biomarkers": biomarkers.draw,
}
