"""One module per section of the report.

Each has ``numbers(tables)``, which returns the section's part of ``numbers.json``, and
``reading(numbers)``, which says in plain language what they mean and knows nothing else.
"""

from importlib import import_module
from types import ModuleType

_TITLES = {
    "cohort": "Cohort",
    "quality_control": "Quality control",
    "finetuning": "Fine-tuning",
    "spikes": "Spike landscape and candidates",
    "stability": "Stability",
    "paths": "Origins and paths of the spikes",
    "pruning": "Pruning",
    "collapse": "Collapse by cell type",
    "quantization": "Fragility to quantisation",
    "controls": "Control arms",
    "genes": "Genes",
    "components": "Attention heads and MLPs",
    "pathways": "Pathways",
    "stages": "Disease stages",
    "stage_order": "Order of change along the disease",
    "external": "External validation",
    "spatial": "Spatial read-out",
    "replication": "Replication across cohorts",
    "biomarkers": "Candidate biomarkers",
}
SECTIONS: dict[str, tuple[str, ModuleType]] = {
    name: (title, import_module(f"{__name__}.{name}")) for name, title in _TITLES.items()
}
