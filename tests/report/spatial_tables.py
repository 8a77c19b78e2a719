"""An invented spatial read-out, as docs/outputs.md describes it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scsw.biology.spatial.spatial import SPATIAL, table_of

TOO_LITTLE = "on the panel's 20 genes the lead over the commonest type is 0.010"
SETS = {"AD_MICROGLIA_DAM": "Microglia-PVM", "AD_TREM2_TYROBP_APOE": "Microglia-PVM"}
SETS |= {"AD_MICROGLIA_HOMEOSTATIC": "Microglia-PVM", "AD_ASTROCYTE_METABOLIC": "Astrocyte"}


def spatial_table(
    cohort: str, seed: int, candidates: list[str], types: list[str], state: str
) -> pd.DataFrame:
    """Return a table that went on (state `go on`), stopped, or found too few people."""
    rng = np.random.default_rng(3)
    rows = []
    for value, name in ((0.91, "all_genes"), (0.62, "panel"), (0.31, "")):
        measure = f"accuracy_{name}" if name else "floor"
        rows.append(
            {"step": "nuclei", "measure": measure, "n_genes": 121, "n_cells": 900, "n_donors": 12}
            | {"value": value, "low": value - 0.05, "high": value + 0.05, "status": "measured"}
        )
    verdict = {"step": "nuclei", "measure": "share_kept", "n_genes": 121, "n_donors": 12}
    stopped = {"value": 0.02, "status": "stop", "reason": TOO_LITTLE}
    rows.append(verdict | ({"value": 0.52, "status": "go on"} if state != "stop" else stopped))
    if state != "stop":
        rows += _on_tissue(candidates, types, rng, tested=state == "go on")
    keys = {"cohort": cohort, "arm": "real", "seed": seed, "spatial": "merfish"}
    table = table_of(rows, keys)
    assert list(table.columns) == list(SPATIAL)
    return table


def _on_tissue(candidates, types, rng, tested):
    row = {"value": 0.58, "low": 0.5, "high": 0.66, "status": "measured", "n_donors": 14}
    yield {"step": "tissue", "measure": "accuracy", "n_cells": 5000} | row
    for candidate in ["", *candidates]:
        kind = {"candidate_id": candidate, "measure": "slope_change" if candidate else "slope"}
        for name, cell_type in SETS.items():
            about = kind | {"gene_set": name, "cell_type": cell_type, "step": "position"}
            yield about | {"axis": "normalised depth from pia"} | _test(rng, tested)
            for cell_type in types:
                about = kind | {"gene_set": name, "cell_type": cell_type, "step": "stage"}
                yield about | {"stage": "cognition"} | _test(rng, tested)
    told = {"status": "not testable", "gene_set": "AD_OXPHOS", "reason": "0 of its genes"}
    yield {"step": "stage", "measure": "slope"} | told


def _test(rng, tested):
    if not tested:
        return {"status": "not tested", "reason": "3 donors outside training; 10 are needed"}
    value = rng.normal(0, 0.4)
    numbers = {"value": value, "low": value - 0.3, "high": value + 0.3, "p": rng.random() ** 4}
    return numbers | {"status": "tested", "n_donors": 14, "null": "one-sample t-test over donors"}
