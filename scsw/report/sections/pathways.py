"""Pathways: gene sets near the best candidates' genes."""

from __future__ import annotations

from typing import Any

from scsw.report import words
from scsw.report.tables import Tables

METHODS = {"ora": "over-representation", "prerank": "preranked GSEA"}
NAMED = 3


def numbers(t: Tables) -> dict[str, Any]:
    """Return how many gene sets were tested and passed, and the nearest ones."""
    alpha = t.config["statistics"]["alpha"]
    methods = {}
    for method in METHODS:
        rows = t.pathways[t.pathways["method"] == method]
        if rows.empty:
            continue
        order = rows.sort_values(["q", "p", "library", "gene_set"], kind="stable")
        best = order.drop_duplicates(["library", "gene_set"]).head(NAMED)
        methods[method] = {
            "n_tests": len(rows),
            "n_sets": len(rows[["library", "gene_set"]].drop_duplicates()),
            "n_candidates": len(rows[["seed", "candidate_id"]].drop_duplicates()),
            "n_passed": int((rows["q"] < alpha).sum()),
            "best": [
                {
                    "gene_set": str(row.gene_set),
                    "view": str(row.view).replace("_", "-"),
                    "candidate_id": str(row.candidate_id),
                    "seed": int(row.seed),
                    "q": float(row.q),
                }
                for row in best.itertuples()
            ],
        }
    return {"alpha": alpha, "methods": methods}


def reading(n: dict[str, Any]) -> list[str]:
    """Say which gene sets are nearest."""
    if not n["methods"]:
        return ["No gene set was tested."]
    sentences = []
    for method, found in n["methods"].items():
        tested = (
            f"{METHODS[method].capitalize().replace('gsea', 'GSEA')} tested "
            f"{words.several(found['n_sets'], 'gene set')} for "
            f"{words.several(found['n_candidates'], 'candidate')} "
            f"({words.several(found['n_tests'], 'test')}); {words.count(found['n_passed'])} pass "
            f"q < {words.amount(n['alpha'])}."
        )
        nearest = [
            f"{row['gene_set']} ({row['view']} of {row['candidate_id']}, seed {row['seed']}, q "
            f"{words.amount(row['q'])})"
            for row in found["best"]
        ]
        sentences.append(f"{tested} Smallest q: {words.listed(nearest)}.")
    return sentences
