"""Invented gene profiles of hidden units, as docs/outputs.md describes them."""

import numpy as np
import pandas as pd


def profiles_of(rng, planted, n_controls=8):
    """Return a model's profiles: its candidates' are `planted`, genes × units, others are noise."""
    n_genes, n_units = planted.shape
    parts = []
    for own in range(n_units):
        columns = [own, *range(100 * (own + 1), 100 * (own + 1) + n_controls)]
        values = np.column_stack([planted[:, own], rng.normal(size=(n_genes, n_controls))])
        for column, profile in zip(columns, values.T, strict=True):
            kind = "candidate" if column == own else "control"
            about = {"unit_set": kind, "block": own % 2, "column": column, "of": own}
            about |= {"firing_rate": 0.5, "mean_activation": 1.0}
            genes = [f"g{i}" for i in range(n_genes)]
            parts.append(pd.DataFrame({"gene": genes, "profile": profile}).assign(**about))
    names = "unit_set block column of firing_rate mean_activation gene profile".split()
    return pd.concat(parts) if parts else pd.DataFrame(columns=names)
