"""One plain statement per gene: what the run shows about it and what it does not."""

from __future__ import annotations

import pandas as pd

NOT_SCORED = "not in vocabulary or not detected"
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
_REPLICATION = {
    "replicated": "The candidate's gene profile recurs in another cohort.",
    "not replicated": "The candidate's gene profile was not found again in another cohort.",
    "not testable": "Replication in another cohort could not be tested.",
}


def leading_link(links: pd.DataFrame, gene: str) -> pd.Series | None:
    """Return the link that a gene's statement is about, or None if no candidate leads with it.

    Causal candidates come first, then the gene's place, the candidate's rank and the seed.
    """
    own = links[links["gene"].eq(gene) & links["leading"].astype(bool)]
    if own.empty:
        return None
    order = own.assign(_not_causal=~own["causal"].astype(bool))
    return order.sort_values(["_not_causal", "place", "rank", "seed", "view"]).iloc[0]


def statement(
    gene: str,
    summary: pd.Series,
    link: pd.Series | None,
    *,
    n_seeds: int,
    top_genes: int,
    primary_stage: str,
    alpha: float,
) -> str:
    """Write the statement on a gene that was scored.

    Parameters
    ----------
    gene
        Its name.
    summary
        Its row of `gene_evidence.gene_summary`.
    link
        Its `leading_link`.
    n_seeds
        Number of models looked at.
    top_genes
        Number of leading genes per candidate and view.
    primary_stage
        Stage variable of the primary tests.
    alpha
        Level of the false discovery rate.
    """
    if link is None:
        return (
            f"{gene} was scored, but is not among the {top_genes} leading genes of any candidate "
            "considered: the run links it to none of them."
        )
    parts = [
        _association(gene, link, summary, n_seeds, top_genes, alpha),
        _VERDICTS[link["verdict"]].format(gene=gene),
        _stage(summary["stage_q"], primary_stage, alpha),
        _REPLICATION[summary["replication"]],
        f"None of this shows that {gene} causes Alzheimer's disease or is a validated marker.",
    ]
    return " ".join(parts)


def _association(
    gene: str, link: pd.Series, summary: pd.Series, n_seeds: int, top_genes: int, alpha: float
) -> str:
    verb = "reads from" if link["view"] == "read_in" else "writes to"
    stands_out = pd.notna(link["q"]) and link["q"] <= alpha
    matched = "stands out from matched genes" if stands_out else "not beyond matched genes"
    q = f"q {link['q']:.3g}" if pd.notna(link["q"]) else "no q"
    return (
        f"{gene} is among the {top_genes} genes that candidate {link['candidate_id']} (seed "
        f"{link['seed']}) {verb} most (place {link['place']} of {link['n_scored']}, z "
        f"{link['z']:.2f}, {q}: {matched}), and among the leading genes of a candidate in "
        f"{summary['seeds']} of {n_seeds} seeds."
    )


def _stage(q: float, primary_stage: str, alpha: float) -> str:
    if pd.isna(q):
        return "Association of its candidates with disease stage was not tested."
    if q <= alpha:
        return (
            f"The contribution of one of its candidates is associated with {primary_stage} "
            f"across held-out donors (smallest q {q:.3g})."
        )
    return f"No association of its candidates with {primary_stage} was found (smallest q {q:.3g})."
