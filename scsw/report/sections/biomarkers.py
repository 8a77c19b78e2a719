"""Candidate biomarkers: how the genes are graded, and whether the views behind it agree."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scsw.report import words
from scsw.report.figures.biomarkers import PAIRS
from scsw.report.names import AD_GENES
from scsw.report.planted import planted_ranks
from scsw.report.tables import Tables

NAMED = 5  # genes named per grade
GRADES = {
    "supported": "leading and standing out at every level tested, with a causal candidate",
    "associated": "the same with a candidate that is not causal",
    "listed": "leading only, as some genes of every candidate do, so alone it means nothing",
}


def numbers(t: Tables) -> dict[str, Any]:
    """Return the genes by grade, the named genes, and the agreement of each pair of views."""
    table, alpha = t.biomarkers, t.config["statistics"]["alpha"]
    return {
        "alpha": alpha,
        "n_listed": len(table),
        "grades": [_grade(table, grade) for grade in GRADES],
        "named": [
            {"gene": str(row.gene), "grade": str(row.grade)}
            for row in table[table["gene"].isin(AD_GENES)].itertuples()
        ],
        "agreement": [_agreement(t, pair) for pair in PAIRS],
        "planted": planted_ranks(t.gene_ranks, alpha) if t.about["simulated"] else None,
    }


def _grade(table: pd.DataFrame, grade: str) -> dict[str, Any]:
    own = table[table["grade"] == grade]
    return {"grade": grade, "n": len(own), "genes": [str(gene) for gene in own["gene"].head(NAMED)]}


def _agreement(t: Tables, pair: tuple[str, str]) -> dict[str, Any]:
    alpha, table = t.config["statistics"]["alpha"], t.view_agreement
    own = table[(table["view_a"] == pair[0]) & (table["view_b"] == pair[1])]
    return {
        "views": PAIRS[pair][0].replace(", ", " and "),
        "n": len(own),
        "n_agree": int((own["q"] <= alpha).sum()),
        "median": float(own["spearman"].median()) if len(own) else None,
        "null_median": float(own["null_spearman"].median()) if len(own) else None,
        "n_overlap": int((own["overlap_q"] <= alpha).sum()),
        "n_controlled": int(own["control_q"].notna().sum()),
        "n_beyond_edits": int((own["control_q"] <= alpha).sum()),
    }


def reading(n: dict[str, Any]) -> list[str]:
    """Say what the table holds and what its order rests on."""
    if not n["n_listed"]:
        return ["This run has no table of candidate biomarkers."]
    told = [
        f"{words.count(grade['n'])} “{grade['grade']}” ({GRADES[grade['grade']]}){_first(grade)}"
        for grade in n["grades"]
    ]
    text = f"Genes of the table by grade, of {words.count(n['n_listed'])}: {'; '.join(told)}."
    if not n["grades"][0]["n"]:
        text += " By this run no gene is a candidate biomarker: none passes with a causal one."
    planted = [_planted(n)] if n["planted"] else []
    return [text, _named(n["named"]), _views(n), *planted]


def _first(grade: dict[str, Any]) -> str:
    more = " …" if grade["n"] > len(grade["genes"]) else ""
    return f": {', '.join(grade['genes'])}{more}" if grade["genes"] else ""


def _named(named: list[dict[str, Any]]) -> str:
    by_grade: dict[str, list[str]] = {}
    for row in named:
        by_grade.setdefault(row["grade"], []).append(row["gene"])
    told = [f"{words.listed(genes)} ({grade})" for grade, genes in by_grade.items()]
    return f"The named genes: {'; '.join(told)}." if told else "No named gene is listed."


def _planted(n: dict[str, Any]) -> str:
    own = n["planted"]
    text = f"The simulator ties {words.several(own['n_planted'], 'gene')} to disease stage; "
    if not own["n_candidates"]:
        return text + "none of them was ranked for a candidate, so nothing could be recovered."
    text += (
        f"{words.count(own['n_ranked'])} of them could be ranked. They rank before other genes in "
        f"{words.count(own['n_passed'])} of {words.several(own['n_candidates'], 'candidate')} "
        f"(q ≤ {words.amount(n['alpha'])}; the largest probability that one does is "
        f"{words.amount(own['largest'])}). "
    )
    if own["n_passed"]:
        return text + "The candidates of this run do see planted genes."
    return text + (
        "So they are not recovered as genes of a candidate. The models learn cell types and hidden "
        "expression, not stages, and nothing draws a weight to these genes in particular."
    )


def _views(n: dict[str, Any]) -> str:
    compared = [pair for pair in n["agreement"] if pair["n"]]
    if not compared:
        return "The views of no candidate could be compared."
    told = [
        f"{pair['views']} agree in {words.count(pair['n_agree'])} of "
        f"{words.several(pair['n'], 'candidate')} (median Spearman {words.effect(pair['median'])}, "
        f"{words.effect(pair['null_median'])} expected; their leading genes overlap more than "
        f"chance in {words.count(pair['n_overlap'])}{_beside_edits(pair)})"
        for pair in compared
    ]
    return (
        f"At q ≤ {words.amount(n['alpha'])}, beyond genes of like detection rate and expression, "
        f"{'; '.join(told)}. Read-in and write-out are measured at the same tokens, so that they "
        "agree for whatever channel a hidden unit writes to; only agreement beyond that of other "
        "channels is the candidate's own. The other nulls take genes as independent; where genes "
        "are expressed together, views agree more often by chance than these say. Where views do "
        "not agree, a combined rank is a compromise between two answers, not one answer confirmed."
    )


def _beside_edits(pair: dict[str, Any]) -> str:
    if not pair["n_controlled"]:
        return ""
    return (
        f"; beyond the same hidden unit writing to other channels in "
        f"{words.count(pair['n_beyond_edits'])} of {words.count(pair['n_controlled'])}"
    )
