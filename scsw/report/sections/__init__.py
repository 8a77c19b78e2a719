"""One module per section of the report.

Each has ``numbers(tables)``, which returns the section's part of ``numbers.json``, and
``reading(numbers)``, which says in plain language what they mean and knows nothing else.
"""

from types import ModuleType

from scsw.report.sections import (
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

SECTIONS: dict[str, tuple[str, ModuleType]] = {
    "cohort": ("Cohort", cohort),
    "quality_control": ("Quality control", quality_control),
    "finetuning": ("Fine-tuning", finetuning),
    "spikes": ("Spike landscape and candidates", spikes),
    "stability": ("Stability", stability),
    "paths": ("Origins and paths of the spikes", paths),
    "pruning": ("Pruning", pruning),
    "collapse": ("Collapse by cell type", collapse),
    "quantization": ("Fragility to quantisation", quantization),
    "controls": ("Control arms", controls),
    "genes": ("Genes", genes),
    "components": ("Attention heads and MLPs", components),
    "pathways": ("Pathways", pathways),
    "stages": ("Disease stages", stages),
    "stage_order": ("Order of change along the disease", stage_order),
    "external": ("External validation", external),
    "spatial": ("Spatial read-out", spatial),
    "replication": ("Replication across cohorts", replication),
    "biomarkers": ("Candidate biomarkers", biomarkers),
}
