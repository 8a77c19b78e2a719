"""Genes that the best candidates read from and write to."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scsw.biology.ranking import ranked_genes, view_scores
from scsw.report import words
from scsw.report.figures.genes import CANDIDATES, VIEWS
from scsw.report.names import AD_GENES
from scsw.report.tables import Tables

NAMED = 5  # genes named per view


def numbers(t: Tables) -> dict[str, Any]:
    """Return the strongest genes of each drawn candidate, and where the AD genes stand."""
    alpha = t.config["statistics"]["alpha"]
    shown = []
    for candidate in t.best_candidates(CANDIDATES).itertuples():
        own = t.genes[t.genes["seed"] == candidate.seed]
        for view, name in VIEWS.items():
            scores = view_scores(own, view, candidate.candidate_id)
            ranked = ranked_genes(scores, view).merge(scores[["gene", "unit_q"]], on="gene")
            if len(ranked):
                found = _view(candidate, name, ranked, alpha)
                found |= _against_units(scores, alpha)
                shown.append(found | _of_controls(t, candidate, view))
    return {"alpha": alpha, "views": shown, "ad_genes": list(AD_GENES)}


def _view(candidate, view: str, ranked, alpha: float) -> dict[str, Any]:
    known = ranked[ranked["gene"].isin(AD_GENES)]
    passed = known[known["q"] < alpha]
    return {
        "seed": int(candidate.seed),
        "candidate_id": str(candidate.candidate_id),
        "causal": bool(candidate.causal),
        "view": view,
        "n_genes": len(ranked),
        "n_passed": int((ranked["q"] < alpha).sum()),
        "top": [str(gene) for gene in ranked["gene"].head(NAMED)],
        "named": _named(ranked),
        "ad_scored": [str(gene) for gene in known["gene"]],
        "ad_passed": [
            {
                "gene": str(row.gene),
                "z": float(row.z),
                "q": float(row.q),
                "unit_q": None if pd.isna(row.unit_q) else float(row.unit_q),
                "place": int(row.place),
            }
            for row in passed.itertuples()
        ],
    }


def _named(ranked: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row for each known AD gene, also where it was not scored (z is None)."""
    own = ranked.set_index("gene").reindex(list(AD_GENES))
    return [
        {
            "gene": gene,
            "z": None if pd.isna(row["z"]) else float(row["z"]),
            "q": None if pd.isna(row["q"]) else float(row["q"]),
            "unit_q": None if pd.isna(row["unit_q"]) else float(row["unit_q"]),
            "place": None if pd.isna(row["place"]) else int(row["place"]),
        }
        for gene, row in own.iterrows()
    ]


def _against_units(scores: pd.DataFrame, alpha: float) -> dict[str, Any]:
    """Return how many genes pass against units or edits alike, and how many against both nulls."""
    passed = scores["unit_q"] < alpha
    return {
        "units_tested": bool(scores["unit_q"].notna().any()),
        "n_passed_units": int(passed.sum()),
        "n_passed_both": int((passed & (scores["q"] < alpha)).sum()),
    }


def _of_controls(t: Tables, candidate, view: str) -> dict[str, Any]:
    """Return how many genes of a control, and of the candidate alike, pass against genes alone."""
    units = t.control_units
    own = units[
        units["candidate_id"].eq(candidate.candidate_id)
        & units["seed"].eq(candidate.seed)
        & units["view"].eq(view)
    ]
    own = own[own["n_passed"].notna() & own["own_passed"].notna()]
    passed = own["n_passed"].astype(float)
    return {
        "n_controls": len(own),
        "n_passed_alone": int(own["own_passed"].iloc[0]) if len(own) else None,
        "controls_passed": float(passed.mean()) if len(own) else None,
        "controls_at_least": float((passed >= own["own_passed"]).mean()) if len(own) else None,
    }


def reading(n: dict[str, Any]) -> list[str]:
    """Say which genes stand out, and what of the known AD genes."""
    if not n["views"]:
        return ["No candidate was mapped to genes."]
    sentences = []
    for view in n["views"]:
        sentences.append(
            f"{view['candidate_id']} (seed {view['seed']}), {view['view']}: "
            f"{words.count(view['n_passed'])} of {words.count(view['n_genes'])} genes pass q < "
            f"{words.amount(n['alpha'])} against matched genes{_units(view)}; the strongest are "
            f"{words.listed(view['top'])}.{_controls(view)}"
        )
    causal = any(view["causal"] for view in n["views"])
    caution = (
        "Scores describe what a weight sees and writes; only for causal candidates does this bear "
        "on what the model predicts."
        if causal
        else "None of these candidates is causal, so the genes are associated with weights that "
        "were not shown to matter."
    )
    return [*sentences, _known(n), caution]


def _beside_units(row: dict[str, Any], view: str) -> str:
    """Say what is left of one gene against units or edits like the candidate."""
    alike = "hidden units alike" if view == "read-in" else "the same change elsewhere"
    if row["unit_q"] is None:
        return f"not tested against {alike}"
    return f"q against {alike} {words.amount(row['unit_q'])}"


def _units(view: dict[str, Any]) -> str:
    alike = "hidden units alike" if view["view"] == "read-in" else "the same change elsewhere"
    if not view["units_tested"]:
        return f" ({alike}: not tested)"
    return (
        f", {words.count(view['n_passed_units'])} against {alike}, and "
        f"{words.count(view['n_passed_both'])} against both"
    )


def _controls(view: dict[str, Any]) -> str:
    """Say how many genes of a control pass, so that the candidate's are not taken for special."""
    if not view["n_controls"]:
        return ""
    alike = "hidden units" if view["view"] == "read-in" else "edits of equal size"
    return (
        f" Tested against matched genes alone and by itself, it has "
        f"{words.count(view['n_passed_alone'])}; of {words.count(view['n_controls'])} control "
        f"{alike} {words.percent(view['controls_at_least'])} have as many or more (mean "
        f"{words.amount(view['controls_passed'])})."
    )


def _known(n: dict[str, Any]) -> str:
    """Say once, over all views, which known AD genes were scored and which stand out."""
    scored = {gene for view in n["views"] for gene in view["ad_scored"]}
    absent = [gene for gene in n["ad_genes"] if gene not in scored]
    if not scored:
        return f"None of the known AD genes was scored ({words.listed(absent)})."
    told = [
        f"{row['gene']} in {view['view']} of {view['candidate_id']} (seed {view['seed']}; z "
        f"{words.effect(row['z'])}, q {words.amount(row['q'])}, "
        f"{_beside_units(row, view['view'])}, place {words.count(row['place'])})"
        for view in n["views"]
        for row in view["ad_passed"]
    ]
    named = words.listed([gene for gene in n["ad_genes"] if gene in scored])
    if told:
        text = f"Of the known AD genes, these stand out from matched genes: {words.listed(told)}."
    elif len(scored) > 1:
        text = f"Of the known AD genes {named} were scored, and none stands out in any view."
    else:
        text = f"Of the known AD genes only {named} was scored; it does not stand out in any view."
    return text + (f" Not scored: {words.listed(absent)}." if absent else "")
