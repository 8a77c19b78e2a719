"""All tests in one group of people: every candidate's leading genes, singly and as sets."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from scsw.biology.external.gene_sets import (
    FEWEST_GENES,
    LABEL_NULL,
    MATCHED_NULL,
    competitive_tests,
)
from scsw.biology.external.groups import Group
from scsw.biology.external.slopes import GENE_NULL, Residuals, slopes
from scsw.biology.matched_genes import neighbours
from scsw.biology.stages.stage_design import design

Leading = Mapping[tuple[str, str, str], Collection[str]]  # (seed, candidate, view) → genes
Sets = Mapping[tuple[str, str, str], list[int]]  # the same → columns of the genes found
About = Mapping[tuple[str, str, str], dict[str, Any]]  # the same → what its rows share
_OF_SET = {"test": "set", "gene": ""}
_EMPTY = dict.fromkeys(["effect", "effect_low", "effect_high", "p"], np.nan)


def tests_of(
    group: Group,
    leading: Leading,
    known_people: Collection[str],
    settings: SimpleNamespace,
    *,
    min_people: int,
    donors_per_term: int,
    matched_genes: int,
) -> Iterator[dict[str, Any]]:
    """Yield a row per leading gene, and two rows (one per null) per set of leading genes.

    Parameters
    ----------
    group
        People of an external cohort.
    leading
        Leading genes by seed (as text), candidate and view.
    known_people
        Donors of the cohort that the model was trained and searched on; they take no part.
    settings
        Section ``external``: ``permutations, min_per_group, seed``.
    min_people
        Fewest people of any test.
    donors_per_term
        Fewest people per regression term.
    matched_genes
        Genes that each gene is matched with.
    """
    case = group.people["diagnosis"].to_numpy()
    rows = np.flatnonzero((case >= 0) & ~group.people["donor_id"].isin(known_people).to_numpy())
    people, expression = group.people.iloc[rows], group.expression[rows]
    n_ad, n_control = int((case[rows] == 1).sum()), int((case[rows] == 0).sum())
    common = {
        **{"external": group.external, "tissue": group.tissue, "cell_class": group.cell_class},
        **{"diagnosis": group.rule, "n_ad": n_ad, "n_control": n_control, "covariates": ""},
    }
    problem = _why_not(n_ad, n_control, max(min_people, donors_per_term), settings.min_per_group)
    if problem:
        for key, genes in leading.items():
            yield from _untested(common | {"n_genes": len(genes), "n_tested": 0}, key, problem)
        return
    terms, used, left_out = design(people, "diagnosis", group.covariates, donors_per_term)
    common |= {"covariates": "+".join(used), "reason": left_out}
    # A gene that few people express, or that all express alike, has no difference to speak of.
    kept = np.flatnonzero(((expression > 0).mean(0) >= 0.5) & (np.ptp(expression, axis=0) > 0))
    values, genes = expression[:, kept], group.genes[kept]
    residuals = Residuals.of(values, case[rows], terms.iloc[:, 1:].to_numpy(float))
    matched = neighbours(group.detection[kept], values.mean(0), matched_genes)
    place = {gene: column for column, gene in enumerate(genes)}
    sets = {key: [place[gene] for gene in own if gene in place] for key, own in leading.items()}
    about = {
        key: common | _named(key) | {"n_genes": len(leading[key]), "n_tested": len(own)}
        for key, own in sets.items()
    }
    found = slopes(values, residuals).assign(gene=genes)
    yield from _gene_rows(sets, about, found)
    names = (group.external, group.cell_class)
    yield from _set_rows(sets, about, found["t"].to_numpy(), matched, residuals, settings, names)


def _gene_rows(sets: Sets, about: About, found: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for key, own in sets.items():
        for numbers in found.iloc[own][["gene", *_EMPTY]].to_dict("records"):
            of_test = {"test": "gene", "null": GENE_NULL, "status": "tested"}
            yield about[key] | of_test | numbers


def _set_rows(
    sets: Sets,
    about: About,
    t: np.ndarray,
    matched: np.ndarray | None,
    residuals: Residuals,
    settings: SimpleNamespace,
    names: tuple[str, str],
) -> Iterator[dict[str, Any]]:
    large = {key: own for key, own in sets.items() if len(own) >= FEWEST_GENES}
    testable = large if matched is not None else {}
    for key in sets:
        if key not in testable:
            yield from _untested(about[key], key, _few(about[key]))
    if testable:
        draws = {"permutations": settings.permutations, "seed": settings.seed, "names": names}
        tests = competitive_tests(testable, t, matched, residuals, **draws)
        for row in tests.itertuples():
            numbers = {"effect": row.effect, "p": row.p, "null": row.null, "status": "tested"}
            yield about[row.key] | _EMPTY | _OF_SET | numbers


def _named(key: tuple[str, str, str]) -> dict[str, Any]:
    return {"seed": int(key[0]), "candidate_id": key[1], "view": key[2]}


def _untested(common: dict[str, Any], key: tuple, reason: str) -> Iterator[dict[str, Any]]:
    for null in (LABEL_NULL, MATCHED_NULL):
        about = {"null": null, "status": "not tested", "reason": reason}
        yield common | _named(key) | _EMPTY | _OF_SET | about


def _why_not(n_ad: int, n_control: int, needed: int, per_group: int) -> str:
    if n_ad + n_control < needed:
        return f"{n_ad + n_control} people have a diagnosis of AD or control; {needed} are needed"
    if min(n_ad, n_control) < per_group:
        return f"{n_ad} cases and {n_control} controls; {per_group} of each are needed"
    return ""


def _few(n: dict[str, int]) -> str:
    if not n["n_genes"]:
        return "no gene leads"
    return f"{n['n_tested']} of {n['n_genes']} leading genes are expressed; {FEWEST_GENES} needed"
