"""A candidate's gene sets against those of its matched controls, by either method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from scsw.biology.enrich.calibration import lower_tail_p, outer_tail_p
from scsw.biology.enrich.enrichment_scores import enrichment_scores
from scsw.biology.enrich.set_membership import membership, over_representation_p
from scsw.biology.gene_sets import Library


class Against(NamedTuple):
    """A candidate against its controls.

    Attributes
    ----------
    p
        Empirical p of each set, shape (sets,).
    own, null
        Values that compare sets with one another, smaller is stronger; shapes (sets,) and (sets,
        controls).
    tails
        How many tails p has; its floor is ``tails / (1 + controls)``.
    """

    p: np.ndarray
    own: np.ndarray
    null: np.ndarray
    tails: int


def ora_against_controls(
    table: pd.DataFrame,
    sets: Mapping[str, Library],
    own: pd.Series,
    controls: np.ndarray,
    top_genes: int,
) -> Against:
    """Compare hypergeometric p, which allows for lists of unequal length.

    Parameters
    ----------
    table
        The candidate's sets: ``library, gene_set``, in the order of the result.
    sets
        Library → set → genes.
    own
        Strength of the candidate's genes, index = genes by name.
    controls
        That of the controls, shape (controls, genes).
    top_genes
        Most leading genes of a list.
    """
    names, members = membership(sets, own.index)
    strength = np.vstack([own.to_numpy(float)[None], controls])
    p = _in_order_of(table, names, over_representation_p(strength, members, top_genes))
    return Against(lower_tail_p(p[:, 0], p[:, 1:]), p[:, 0], p[:, 1:], tails=1)


def gsea_against_controls(
    table: pd.DataFrame, sets: Mapping[str, Library], own: pd.Series, controls: np.ndarray
) -> Against:
    """Compare enrichment scores of one set as they are, and normalised ones between sets.

    Normalising makes sets of unequal size comparable. Within a set it is one factor for either
    sign, so p needs no permutations of the controls; for the FDR the candidate's own factors
    serve its controls too, which are ranked over the same genes.

    Parameters
    ----------
    table
        The candidate's sets as `preranked.preranked` returns them, in the order of the result.
    sets
        Library → set → genes.
    own
        z of the candidate's genes, index = genes by name.
    controls
        z of the controls, turned as the candidate's, shape (controls, genes).
    """
    names, members = membership(sets, own.index)
    scores = enrichment_scores(np.vstack([own.to_numpy(float)[None], controls]), members)
    scores = _in_order_of(table, names, scores)
    above, below = (table[f"permuted_{side}"].to_numpy()[:, None] for side in ("above", "below"))
    with np.errstate(divide="ignore", invalid="ignore"):
        normalised = np.abs(scores) / np.where(scores >= 0, above, below)
    strength = -np.nan_to_num(normalised, nan=0.0, posinf=0.0)
    p = outer_tail_p(scores[:, 0], scores[:, 1:])
    return Against(p, strength[:, 0], strength[:, 1:], tails=2)


def _in_order_of(table: pd.DataFrame, names: pd.DataFrame, values: np.ndarray) -> np.ndarray:
    """Return the rows of `values`, which are named by `names`, in the order of `table`."""
    place = {key: row for row, key in enumerate(names.itertuples(index=False, name=None))}
    keys = table[["library", "gene_set"]].itertuples(index=False, name=None)
    return values[[place[key] for key in keys]]
