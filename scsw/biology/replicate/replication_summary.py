"""One row per pair of cohorts and level: whether it recurs, and what can be made of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from scsw.biology.tables import benjamini_hochberg

STAGES = ("adnc", "braak", "thal", "cerad", "cognition", "cps")
LEVELS = ("candidates", "genes", "pathways", "stages")
COMBINED = "; Simes over the rows of a pair of models, Rüger (k = half) over the pairs of models"
_MODELS = ["seed_a", "seed_b"]
_PAIR = ["cohort_a", "cohort_b", *_MODELS, "candidate_a", "candidate_b"]
_STATISTIC = {
    "acquired_spikes": "median share of acquired spikes that both models have",
    "profile": "median of the mean |r| of matched units' gene profiles",
    "genes": "median Spearman of matched candidates' gene scores",
    "pathways": "median Spearman of matched candidates' gene-set scores",
}


def simes(p: pd.Series) -> float:
    """Return Simes' p of the hypothesis that none of the tests has anything (Simes 1986).

    It is the smallest Benjamini–Hochberg q. A missing p is no test; NaN without any.
    """
    return float(benjamini_hochberg(p).min())


def ruger(p: np.ndarray) -> float:
    """Return one p of several that may depend on one another in any way (Rüger 1978).

    With k = ⌈m/2⌉ it is m/k times the k-th smallest of the m, at most 1. So half of the pairs of
    models must agree, and pairs that share a model or a start cannot make a result surer.
    """
    if not len(p):
        return np.nan
    k = (len(p) + 1) // 2
    return float(min(1.0, len(p) / k * np.sort(p)[k - 1]))


def summary_rows(
    tables: Mapping[str, pd.DataFrame], *, n_shared: int, alpha: float, names: tuple[str, str]
) -> Iterator[dict[str, Any]]:
    """Sum up the tables of one pair of cohorts, one row per level.

    Parameters
    ----------
    tables
        ``candidates, genes, pathways, stages, stage_ranks`` of the pair, with ``q``.
    n_shared
        Donors that are in both cohorts.
    alpha
        Level at which a pair of models counts as agreeing in some row.
    names
        The two cohorts.

    Yields
    ------
    dict
        Columns of ``replication/summary.parquet`` without ``q`` and ``outcome``, and ``reason``
        (why nothing could be tested) and ``caveat`` (why agreement would be no evidence).
    """
    for level in LEVELS:
        rows, statistic_is, reason = _level(level, tables, names, alpha)
        tested = rows.dropna(subset=["p"])
        by_model = tested.groupby(_MODELS)["p"].agg(simes)
        agree = tested[tested["q"].le(alpha)].groupby(_MODELS).ngroups if len(tested) else 0
        nulls = sorted({str(null) for null in tested["null"].unique() if null})
        caveat = _caveat(level, rows, n_shared)
        yield {
            "n_shared_donors": n_shared,
            "level": level,
            "statistic_is": statistic_is,
            "statistic": tested["statistic"].median() if len(tested) else np.nan,
            "n": len(tested),
            "n_models": len(by_model),
            "n_models_agree": agree,
            "p": ruger(by_model.to_numpy()),
            "null": "; ".join(nulls) + COMBINED if nulls else "",
            "independent": not caveat,
            "reason": "" if len(tested) else reason,
            "caveat": caveat,
        }


def with_outcomes(rows: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Add ``q``, Benjamini–Hochberg over all rows, and ``outcome``, a plain sentence."""
    if rows.empty:
        return rows
    table = rows.assign(q=benjamini_hochberg(rows["p"]))
    return table.assign(outcome=[_outcome(row, alpha) for row in table.itertuples()])


def _outcome(row, alpha: float) -> str:
    if pd.isna(row.p):
        return f"Not testable: {row.reason}."
    pairs = "pair" if row.n_models == 1 else "pairs"
    models = f"{row.n_models_agree} of {row.n_models} {pairs} of models"
    if row.q > alpha:
        return f"No agreement shown (q {row.q:.3g}; some test passes in {models})."
    text = f"Agreement (q {row.q:.3g}; some test passes in {models})"
    return f"{text}, which is no independent evidence: {row.caveat}." if row.caveat else f"{text}."


def _level(
    level: str, tables: Mapping[str, pd.DataFrame], names: tuple[str, str], alpha: float
) -> tuple[pd.DataFrame, str, str]:
    """Return the tests of a level with ``statistic``, what that is, and why there may be none."""
    if level == "candidates":
        return _candidates(tables["candidates"], names)
    if level == "stages":
        return _stages(tables["stage_ranks"], names, alpha)
    reason = {
        "genes": f"{names[0]} and {names[1]} have no candidates with enough scored genes in common",
        "pathways": "no gene set was tested for a matched pair of candidates",
    }[level]
    rows = judged(tables, level)
    return rows.assign(statistic=rows["spearman"]), _STATISTIC[level], reason


def judged(tables: Mapping[str, pd.DataFrame], level: str) -> pd.DataFrame:
    """Return the tests of a level with ``p``, ``q`` and ``null`` of all that a test must pass.

    Genes must pass both their nulls. Gene sets must also be those of a pair whose genes do: pairs
    are chosen for like genes, and genes that are expressed together bring their sets along, so
    that the sets' own null of relabelled genes is passed by pairs that have nothing in common
    beyond what any two units have.

    Parameters
    ----------
    tables
        ``candidates, genes, pathways, stage_ranks`` as in the folder ``replication``.
    level
        One of `LEVELS`.
    """
    if level == "genes":
        return against_both_nulls(tables["genes"])
    if level != "pathways":
        return tables["stage_ranks" if level == "stages" else level]
    genes = against_both_nulls(tables["genes"])
    genes = genes[genes["view"].eq("read_in")][[*_PAIR, "p", "q", "null", "unit_p"]]
    both = tables["pathways"].merge(genes, on=_PAIR, how="left", suffixes=("", "_genes"))
    return both.assign(
        p=both[["p", "p_genes"]].max(axis=1, skipna=False),
        q=both[["q", "q_genes"]].max(axis=1, skipna=False),
        null=both["null"].astype(str) + " and " + both["null_genes"].astype(str),
    )


def against_both_nulls(genes: pd.DataFrame) -> pd.DataFrame:
    """Put the larger of the gene-level and the unit-level p, and q, in place of ``p`` and ``q``.

    A pair must pass both (an intersection–union test, Berger 1982), where both were tested. The
    null names both.
    """
    if genes.empty:
        return genes
    tested = genes["unit_p"].notna() & genes["p"].notna()
    both = genes["null"].astype(str) + " and " + genes["unit_null"].astype(str)
    null = genes["null"].where(~tested, both)
    return genes.assign(
        p=genes[["p", "unit_p"]].max(axis=1, skipna=True),
        q=genes[["q", "unit_q"]].max(axis=1, skipna=True),
        null=null,
    )


def _candidates(rows: pd.DataFrame, names: tuple[str, str]) -> tuple[pd.DataFrame, str, str]:
    # Coordinates before profiles, what has a p before what has none. Growth is no spike.
    kinds = [kind for kind in ("acquired_spikes", "profile") if rows["measure"].eq(kind).any()]
    tested = [kind for kind in kinds if rows.loc[rows["measure"].eq(kind), "p"].notna().any()]
    kind = next(iter([*tested, *kinds]), "profile")
    own = rows[rows["measure"].eq(kind)]
    lacking = [name for name, side in zip(names, "ab", strict=True) if own[f"n_{side}"].eq(0).any()]
    what = "spike that fine-tuning added" if kind == "acquired_spikes" else "candidate unit"
    where = " and in ".join(lacking) or "either cohort beside controls"
    return own, _STATISTIC[kind], f"there is no {what} in {where}"


def _stages(
    ranks: pd.DataFrame, names: tuple[str, str], alpha: float
) -> tuple[pd.DataFrame, str, str]:
    """Return the rows of one stage: the first of `STAGES` that could be compared.

    So few cell classes that no order of them has a p of at most `alpha` are no test.
    """
    ranks = ranks[ranks["stage"].isin(STAGES)]  # APOE alleles are no stage
    ranks = ranks.assign(p=ranks["p"].where(ranks["p_floor"].le(alpha)))
    tested = ranks.dropna(subset=["p"])
    if tested.empty:
        reason = f"no stage was tested in both {names[0]} and {names[1]}"
        if len(ranks):
            reason = (
                f"too few cell classes were tested in both cohorts for any order of them to reach "
                f"p {alpha:g}"
            )
        return ranks.assign(statistic=ranks["spearman"]), "mean Spearman of stage slopes", reason
    stage = next(name for name in STAGES if name in set(tested["stage"]))
    own = tested[tested["stage"].eq(stage)]
    text = (
        f"median of the mean Spearman of {stage} slopes over cell classes (smallest possible p "
        f"{own['p_floor'].min():.3g})"
    )
    return own.assign(statistic=own["spearman"]), text, ""


def _caveat(level: str, rows: pd.DataFrame, n_shared: int) -> str:
    caveats = []
    if n_shared:
        people = "1 person is" if n_shared == 1 else f"{n_shared} people are"
        caveats.append(f"{people} in both cohorts")
    if level in ("genes", "pathways") and len(rows) and rows["shared_start"].astype(bool).any():
        caveats.append("models that began with the same weights may agree by what they inherited")
    if level in ("genes", "pathways") and rows.loc[rows["p"].notna(), "unit_p"].isna().any():
        caveats.append(
            "some candidates have too few units like them to compare with, and genes that are "
            "expressed together agree in any units"
        )
    return "; ".join(caveats)
