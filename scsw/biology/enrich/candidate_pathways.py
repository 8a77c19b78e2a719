"""The gene sets of one candidate in one view: against random genes, and against its controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from scsw.biology.enrich import over_representation as ora
from scsw.biology.enrich import preranked as gsea
from scsw.biology.enrich.against_controls import (
    Against,
    gsea_against_controls,
    ora_against_controls,
)
from scsw.biology.enrich.calibration import calibrated_columns, empirical_fdr, uncalibrated_columns
from scsw.biology.gene_sets import Library, testable_sets
from scsw.biology.ranking import leading_genes, ranked_genes
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
    controls
        Function from gene names to z-scores of the controls, shape (controls, genes).
    """

    scores: pd.DataFrame
    view: str
    sign: float
    large: bool
    controls: Callable[[list[str]], np.ndarray]


def candidate_pathways(
    query: Query, libraries: Libraries, settings: SimpleNamespace
) -> pd.DataFrame:
    """Test all sets by every method.

    Parameters
    ----------
    query
        The candidate's genes.
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
    own = by_z.sort_index()  # in the order of names, by which ties go
    z = query.controls(own.index.tolist())
    z = z if query.view == "read_in" else z * query.sign
    found = []
    if chosen := _named(sets, settings.gene_sets):
        table = ora.over_representation(leading, background, chosen)
        table = table.assign(method="ora", null=ora.NULL)
        strengths = (own, z) if query.view == "read_in" else (own.abs(), np.abs(z))
        against = ora_against_controls(table, chosen, *strengths, settings.top_genes)
        found.append(_family(table, against, query.view, settings))
    large = settings.prerank_large_gene_sets if query.large else []
    usual = settings.prerank_gene_sets
    # A library that is tested for the best candidates only is a family of its own: the q of the
    # others must not depend on how many candidates that is.
    for paths in (usual, [path for path in large if path not in usual]):
        if chosen := _named(sets, paths):
            options = {"permutations": settings.permutations, "seed": settings.seed}
            table = gsea.preranked(by_z, chosen, **options)
            table = table.assign(method="prerank", null=gsea.NULL)
            against = gsea_against_controls(table, chosen, own, z)
            found.append(_family(table, against, query.view, settings))
    return pd.concat(found) if found else pd.DataFrame()


def _family(
    table: pd.DataFrame, against: Against, view: str, settings: SimpleNamespace
) -> pd.DataFrame:
    """Add q, and p and FDR against the controls where there are any; best sets first."""
    stems = {Path(path).stem for path in settings.primary_gene_sets}
    primary = table["library"].isin(stems).to_numpy()
    n = against.null.shape[1]
    if n:
        fdr = np.empty(len(table))
        for rows in table.groupby("library").indices.values():
            fdr[rows] = empirical_fdr(against.own[rows], against.null[rows])
        about = {"floor": against.tails / (1 + n), "null": f"{n:,} {CONTROL_NULL[view]}"}
        more = calibrated_columns(against.p, fdr, primary, n_controls=n, **about)
    else:
        more = uncalibrated_columns(primary)
    table = pd.concat([table.assign(q=benjamini_hochberg(table["p"])), more], axis=1)
    return table.sort_values(["p", "library", "gene_set"])


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
    return testable_sets(libraries, background, settings)
