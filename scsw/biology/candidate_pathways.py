"""The gene sets of one candidate in one view: against random genes, and against its controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd

from scsw.biology import over_representation as ora
from scsw.biology import preranked as gsea
from scsw.biology.calibration import (
    calibrated_columns,
    empirical_fdr,
    lower_tail_p,
    outer_tail_p,
    uncalibrated_columns,
)
from scsw.biology.enrichment_scores import enrichment_scores
from scsw.biology.gene_sets import Library, within_background
from scsw.biology.ranking import leading_genes, ranked_genes
from scsw.biology.set_membership import membership, over_representation_p
from scsw.biology.tables import benjamini_hochberg
from scsw.errors import ScswError

Libraries = dict[str, Library]  # name of the library → its sets
# What a control is; in full in docs/biology.md.
CONTROL_NULL = {
    "read_in": "matched hidden units",
    "write_out": "edits of equal size to other output channels",
}


@dataclass(frozen=True)
class Query:
    """The genes of one candidate in one view, and what they are compared with.

    Attributes
    ----------
    scores
        Rows of `ranking.view_scores`.
    view
        ``read_in`` or ``write_out``.
    sign
        Sign of the candidate's weight. Controls are scored as for a positive weight, so their
        write-out is turned by it; read-in is turned to a positive weight by `ranked_genes`.
    large
        Whether the libraries of `settings.prerank_large_gene_sets` are tested too.
    """

    scores: pd.DataFrame
    view: str
    sign: float
    large: bool


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


def candidate_pathways(
    query: Query, controls, libraries: Libraries, settings: SimpleNamespace
) -> pd.DataFrame:
    """Test all sets by every method.

    Parameters
    ----------
    query
        The candidate's genes.
    controls
        Function from gene names to z-scores of the controls, shape (controls, genes).
    libraries
        Library → set → genes, of all libraries that the settings name.
    settings
        Section ``enrich`` of the config.

    Returns
    -------
    pandas.DataFrame
        Columns of ``pathways.parquet`` without those that name the candidate; no rows if no gene
        leads or no set is of a testable size.

    Raises
    ------
    ScswError
        If no scored gene is in any set.
    """
    ranked = ranked_genes(query.scores, query.view)
    leading = ranked.loc[leading_genes(ranked, query.view, settings.top_genes), "gene"].tolist()
    if not leading:
        return pd.DataFrame()
    background = ranked["gene"].tolist()
    sets = _testable(libraries, background, settings)
    by_z = ranked.sort_values(["z", "gene"], ascending=[False, True]).set_index("gene")["z"]
    options = {"permutations": settings.permutations, "seed": settings.seed}
    by_name = by_z.sort_index()  # columns in the order of names: ties go by name
    z = controls(by_name.index.tolist())
    primary = {Path(path).stem for path in settings.primary_gene_sets}
    found = []
    if chosen := _named(sets, settings.gene_sets):
        table = ora.over_representation(leading, background, chosen)
        against = _ora_against_controls(table, chosen, by_name, z, query, settings.top_genes)
        found.append(_family(table.assign(method="ora", null=ora.NULL), against, primary, z, query))
    large = settings.prerank_large_gene_sets if query.large else []
    usual = settings.prerank_gene_sets
    # A library that is tested for the best candidates only is a family of its own: the q of the
    # others must not depend on how many candidates that is.
    for paths in (usual, [path for path in large if path not in usual]):
        if chosen := _named(sets, paths):
            table = gsea.preranked(by_z, chosen, **options)
            against = _gsea_against_controls(table, chosen, by_name, z, query)
            null = {"method": "prerank", "null": gsea.NULL}
            found.append(_family(table.assign(**null), against, primary, z, query))
    return pd.concat(found) if found else pd.DataFrame()


def _family(
    table: pd.DataFrame,
    against: Against | None,
    primary: set[str],
    z: np.ndarray,
    query: Query,
) -> pd.DataFrame:
    """Add q, and p and FDR against the controls where there are any; best sets first."""
    in_primary = table["library"].isin(primary).to_numpy()
    if against is None:
        more = uncalibrated_columns(in_primary)
    else:
        null = f"{len(z):,} {CONTROL_NULL[query.view]}"
        fdr = np.empty(len(table))
        for rows in table.groupby("library").indices.values():
            fdr[rows] = empirical_fdr(against.own[rows], against.null[rows])
        floor = against.tails / (1 + len(z))
        more = calibrated_columns(
            against.p, fdr, in_primary, n_controls=len(z), floor=floor, null=null
        )
    table = pd.concat([table.assign(q=benjamini_hochberg(table["p"])), more], axis=1)
    return table.sort_values(["p", "library", "gene_set"])


def _ora_against_controls(
    table: pd.DataFrame,
    sets: Libraries,
    own: pd.Series,
    z: np.ndarray,
    query: Query,
    top_genes: int,
) -> Against | None:
    """Compare hypergeometric p, which allows for lists of unequal length."""
    if not len(z):
        return None
    every = np.vstack([own.to_numpy(float)[None], z])
    names, members = membership(sets, own.index)
    strength = every if query.view == "read_in" else np.abs(every)
    p = _in_order_of(table, names, over_representation_p(strength, members, top_genes))
    own_p, null = p[:, 0], p[:, 1:]
    return Against(lower_tail_p(own_p, null), own_p, null, tails=1)


def _gsea_against_controls(
    table: pd.DataFrame, sets: Libraries, own: pd.Series, z: np.ndarray, query: Query
) -> Against | None:
    """Compare enrichment scores of one set as they are, and normalised ones between sets.

    Normalising makes sets of unequal size comparable. Within a set it is one factor for either
    sign, so p needs no permutations of the controls; for the FDR the candidate's own factors
    serve its controls too, which are ranked over the same genes.
    """
    if not len(z):
        return None
    names, members = membership(sets, own.index)
    scores = np.hstack(
        [
            enrichment_scores(own.to_numpy(float)[None], members),
            enrichment_scores(z, members) * (1.0 if query.view == "read_in" else query.sign),
        ]
    )
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


def _named(libraries: Libraries, paths: Sequence[str]) -> Libraries:
    """Return the libraries of these files that have a set to test."""
    stems = [Path(path).stem for path in paths]
    return {stem: libraries[stem] for stem in stems if libraries[stem]}


def _testable(
    libraries: Libraries, background: Sequence[str], settings: SimpleNamespace
) -> Libraries:
    """Cut every library to the background and to the sets of a testable size.

    Raises
    ------
    ScswError
        If no gene of the background is in any set.
    """
    known = {gene for sets in libraries.values() for genes in sets.values() for gene in genes}
    if libraries and not known.intersection(background):
        raise ScswError(
            f"none of the {len(background)} scored genes (such as {background[0]}) is in a gene "
            f"set of {', '.join(libraries)}",
            expected="the same kind of gene name, such as gene symbols, in both",
            fix="give GMT files that name genes as the cohort does",
        )
    limits = {"min_size": settings.min_size, "max_size": settings.max_size}
    return {name: within_background(sets, background, **limits) for name, sets in libraries.items()}
