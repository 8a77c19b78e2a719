"""The axes whose order is asked about: their genes and the cells they are scored in."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scsw.biology.gene_sets import find_gmt, read_gmt

AXES_FILE = "resources/gene_sets/ad_axes.gmt"
EXPRESSION = "expression"

# Axis of the expected order → gene set, class of the cells, and how their type's name begins.
AXES = {
    "synapse": ("AD_GLUTAMATERGIC_SYNAPSE", "excitatory", ""),
    "tau": ("AD_TAU_KINASES_PHOSPHATASES", "excitatory", ""),
    "microglia": ("AD_MICROGLIA_DAM", "immune", ""),
    "astrocytes": ("AD_ASTROCYTE_REACTIVE", "glia", "ast"),
}
AXIS_SCORES = (
    "depth source axis donor_id n_cells n_genes score split median_genes pct_mito assay_shares "
    "cps age_death age_censored sex pmi is_reference apoe_e4 apoe_e2"
).split()


def axis_genes(var: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the columns of a cohort that hold each axis's genes, int64.

    Parameters
    ----------
    var
        Genes of the cohort, index symbol.
    """
    library = read_gmt(find_gmt(AXES_FILE))
    column = {symbol: place for place, symbol in enumerate(var.index.astype(str))}
    return {
        axis: np.array(sorted(column[g] for g in library[name] if g in column), np.int64)
        for axis, (name, _, _) in AXES.items()
    }
