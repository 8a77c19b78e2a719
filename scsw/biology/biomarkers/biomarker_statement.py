"""One plain statement per gene: what the run shows about it and what it does not."""

from __future__ import annotations

import pandas as pd

from scsw.biology.biomarkers.candidate_evidence import CALIBRATED

NOT_SCORED = "not in vocabulary or not detected"
NO_RANK = (
    "{gene} was scored, but not in every view of a candidate considered: it has no rank, and the "
    "run links it to no candidate."
)
_VERDICTS = {
    "causal, informative": (
        "Zeroing this candidate, or replacing it by its mean, worsened the model on test donors "
        "(causal, informative): the model uses it, but that {gene} drives this use was not tested."
    ),
    "causal, constant": (
        "Zeroing this candidate worsened the model on test donors, replacing it by its mean did "
        "not (causal, constant): it acts as an offset, whichever genes are expressed, so {gene} is "
        "only associated with it."
    ),
    "masked pair": (
        "Zeroing this candidate alone changed little, zeroing it together with another candidate "
        "worsened the model on test donors (masked pair): {gene} is associated with one of two "
        "weights that stand in for each other, and that it drives them was not tested."
    ),
    "not causal": (
        "This candidate was NOT shown to be causal: {gene} is associated with it, and no control "
        "over the model was shown."
    ),
    "not assessable": (
        "This candidate was NOT shown to be causal, since that could not be assessed: {gene} is "
        "associated with it, and no control over the model was shown."
    ),
}
_THINNED = {
    "yes": ", also on cells thinned to one depth",
    "no": "; on cells thinned to one depth it was not found again, so it may be one of depth",
    "not tested": "; on cells thinned to one depth it could not be tested",
}
_VERBS = {"read_in": "reads from", "write_out": "writes to"}
_NOT_COMPARED = "Replication in an independent cohort could not be tested."


def statement(gene: str, row: pd.Series, *, n_seeds: int, top_genes: int, alpha: float) -> str:
    """Write the statement on a gene that was scored.

    Parameters
    ----------
    gene
        Its name.
    row
        Its row of `candidate_evidence.with_candidate_evidence`, with ``gwas``.
    n_seeds
        Number of models looked at.
    top_genes
        Number of leading genes per candidate and view.
    alpha
        Level of the false discovery rate.
    """
    if row["grade"] == "unlinked":
        return (
            f"{gene} was scored, but is not among the {top_genes} leading genes of any candidate "
            f"considered: the run links it to none of them.{_gwas(gene, row)}"
        )
    parts = [
        _association(gene, row, n_seeds, top_genes, alpha),
        _VERDICTS[row["verdict"]].format(gene=gene),
        _pathways(gene, row),
        _stage(gene, row, alpha),
        _replication(row),
    ]
    end = f"None of this shows that {gene} causes Alzheimer's disease or is a validated marker."
    return " ".join(parts) + _gwas(gene, row) + " " + end


def _association(gene: str, row: pd.Series, n_seeds: int, top_genes: int, alpha: float) -> str:
    view = row["view"]
    z, q, unit_q, place = (row[f"{view}_{name}"] for name in ("z", "q", "unit_q", "place"))
    tests = [
        f"z {z:.2f}, {_level('gene', q, alpha, 'matched genes')}",
        *([_level("unit", unit_q, alpha, "matched units")] if pd.notna(unit_q) else []),
    ]
    graded = "this grade" if row["grade"] != "listed" else "a leading place"
    return (
        f"{gene} is among the {top_genes} genes that candidate {row['candidate_id']} (seed "
        f"{row['seed']}) {_VERBS[view]} most (place {place:.0f} of {row['n_genes']}, combined rank "
        f"{row['combined_rank']:g}; {'; '.join(tests)}), and has {graded} in {row['seeds']} of "
        f"{n_seeds} seeds."
    )


def _level(name: str, q: float, alpha: float, others: str) -> str:
    if pd.isna(q):
        return f"{name}-level: no q"
    verb = "stands out from" if q <= alpha else "not beyond"
    return f"{name}-level q {q:.3g}: {verb} {others}"


def _pathways(gene: str, row: pd.Series) -> str:
    n = row["n_pathways"]
    if not n:
        return f"{gene} is in no gene set that this candidate's genes are enriched for."
    null = (
        "calibrated on matched controls"
        if row["pathway_test"] == CALIBRATED
        else "naive: gene permutation, not calibrated on controls"
    )
    sets = "one gene set" if n == 1 else f"{n} gene sets"
    return f"{gene} is in {sets} that this candidate's genes are enriched for ({null})."


def _stage(gene: str, row: pd.Series, alpha: float) -> str:
    q = row["stage_q"]
    if pd.isna(q):
        return "Association of this candidate with disease stage was not tested."
    where = f"{row['stage']} across held-out donors in {row['stage_class']} (q {q:.3g})"
    if q <= alpha:
        return (
            f"The candidate's contribution, not the expression of {gene}, is associated with "
            f"{where}{_THINNED.get(row['stage_survives'], _THINNED['not tested'])}."
        )
    return f"No association of this candidate with stage was found; nearest was {where}."


def _replication(row: pd.Series) -> str:
    n, k = row["n_compared"], row["n_replicated"]
    if not n:
        return _NOT_COMPARED
    models = "the one model" if n == 1 else f"{n} models"
    return (
        f"The candidate's gene profile was found again in {k or 'none'} of {models} of other "
        "cohorts."
    )


def _gwas(gene: str, row: pd.Series) -> str:
    if row["gwas"] != "yes":
        return ""
    return (
        f" {gene} names a locus of the GWAS set, which was known beforehand and is no result of "
        "this run."
    )
