"""The numbers of docs/calibration.md, written from the stored tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scsw.files import read_json, read_table, write_table, write_text
from scsw.superweight.calibration.summary import (
    QUESTIONS,
    by_least,
    called,
    false_verdicts,
    power_by_effect,
    power_by_strength,
)
from scsw.superweight.calibration.uniformity import uniformity

BEGIN, END = "<!-- numbers: written by `make calibration` -->", "<!-- end of numbers -->"
FIGURE = """\
![Rank p of blind random scalars, false verdicts, and power against the strength of implants](\
calibration/calibration.png)

*a*: distribution of the rank p of all blind candidates less the uniform one, of each model (grey) \
and pooled (blue); the band holds the whole blue line in 95 % of cases for independent uniform \
values. *b*: share of families with any candidate that passes, with 95 % Wilson intervals; \
*least* is the smallest effect that counts. Below: share of implants with 95 % Wilson intervals, \
against the size of the implanted scalar and against what zeroing it does to the NLL; to the left \
of the dotted line an effect is below the smallest that counts, and must not be called. Drawn by \
`scsw/superweight/calibration/figure.py` from the tables in `docs/calibration/` alone \
([SVG](calibration/calibration.svg))."""
DRAWS, SEED = 1999, 0  # of the null of the KS distance
SUMMARIES = ("uniformity", "false_verdicts", "power_by_strength", "power_by_effect", "by_least")


def write_summaries(stored: Path, n_controls: int) -> None:
    """Write the tables of `SUMMARIES` from ``null.parquet`` and ``power.parquet``, as TSV."""
    null, power = (read_table(stored / f"{name}.parquet") for name in ("null", "power"))
    tables = {
        "uniformity": uniformity(null, n_controls, draws=DRAWS, seed=SEED),
        "false_verdicts": false_verdicts(null),
        "power_by_strength": power_by_strength(power),
        "power_by_effect": power_by_effect(power),
        "by_least": by_least(null, power),
    }
    for name, table in tables.items():
        write_table(table, stored / f"{name}.tsv")


def numbers(stored: Path) -> str:
    """Return the part of the page between `BEGIN` and `END`."""
    tables = {name: read_table(stored / f"{name}.tsv") for name in SUMMARIES}
    models, searched, null = (
        read_table(stored / f"{name}.parquet") for name in ("models", "searched", "null")
    )
    parts = [
        FIGURE,
        _sizes(models, null),
        _uniformity(tables["uniformity"]),
        _false(tables["false_verdicts"]),
        _searched(searched),
        _power(tables["power_by_strength"], "strength", "size of the scalar"),
        _power(tables["power_by_effect"], "below", "effect / gap below"),
        _least(tables["by_least"]),
        _runs(stored),
    ]
    return "\n\n".join([BEGIN, *parts, END])


def fill_in(page: Path, stored: Path) -> None:
    """Replace the numbers of a page."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    write_text(before + numbers(stored) + after, page)


def _sizes(models: pd.DataFrame, null: pd.DataFrame) -> str:
    accuracy, gap, effect = models["accuracy"], models["gap"], null["effect_nll"]
    nothing = effect == 0
    small = ~nothing & (effect.abs() <= null["floor_nll"])
    largest = 100 * (effect / null["min_effect"]).max()
    families = null.groupby(["model", "family"]).ngroups
    return (
        f"{len(models)} models without an implant, accuracy on test donors {accuracy.min():.2f} to "
        f"{accuracy.max():.2f}, gap {gap.min():.2f} to {gap.max():.2f} nats; {families} families "
        f"with {len(null):,} blind candidates. {nothing.sum()} of these do nothing at all (such as "
        f"one whose hidden unit never fires) and {small.sum()} more have an effect within its "
        f"numerical floor; {(null['n_tied'] > 0).sum()} have exactly the effect of one of their "
        "controls, which makes p a little too large, never too small. The largest effect of any is "
        f"{largest:.2g} % of the smallest that counts."
    )


def _uniformity(table: pd.DataFrame) -> str:
    rows = [
        [
            {"all": "all", "same_tensor": "same tensor", "all_blocks": "all blocks"}[row.scope],
            str(row.families),
            f"{row.n:,}",
            f"{row.ks:.4f}",
            f"{row.p_families:.3f}",
            f"{row.p_models:.3f}",
            f"{row.share_05:.2%}",
        ]
        for row in table.itertuples()
    ]
    head = ["controls", "families", "p-values", "KS distance", "p, families", "p, models as "
            "clusters", "share of p ≤ 0.05"]  # fmt: skip
    return _markdown(head, rows)


def _false(table: pd.DataFrame) -> str:
    rows = [
        [
            QUESTIONS[row.question],
            f"{row.passed} of {row.families}",
            f"{row.share:.1%} [{row.low:.1%}, {row.high:.1%}]",
            f"{row.most_of_one_model:.1%}",
        ]
        for row in table.itertuples()
    ]
    return _markdown(
        ["a family counts when any candidate is", "families", "share", "most in one model"], rows
    )


def _searched(searched: pd.DataFrame) -> str:
    own = searched.assign(called=called(searched["verdict"]))
    n = int(own["called"].sum())
    return (
        f"What the search itself finds in these models ({len(own)} candidates, judged in the same "
        f"way): {n} called, in {own.loc[own['called'], 'model'].nunique()} of "
        f"{own['model'].nunique()} models; {int((own['q'] <= 0.05).sum())} have q ≤ 0.05."
    )


def _power(table: pd.DataFrame, by: str, title: str) -> str:
    rows = []
    for (kind, value), own in table.groupby(["kind", by]):
        shares = own.set_index("outcome")
        label = f"{value:g}" if by == "strength" else _percent(value)
        rows.append(
            [kind.removeprefix("implanted_"), label, str(own["n"].iloc[0])]
            + [
                f"{shares.loc[name, 'passed']} ({shares.loc[name, 'low']:.0%}–"
                f"{shares.loc[name, 'high']:.0%})"
                for name in ("found", "causal", "grade")
            ]
            + [f"{own['median_effect'].iloc[0]:.1%}"]
        )
    head = ["kind", title, "implants", "among the candidates", "causal", "causal, its own grade",
            "median effect / gap"]  # fmt: skip
    return _markdown(head, rows)


def _least(table: pd.DataFrame) -> str:
    kinds = [name for name in table if name.startswith("implanted_")]
    rows = [
        [f"{row['least']:.1%}", f"{row['called']:.0f} of {row['families']:.0f}"]
        + [f"{row[kind]:.0f} of {row['implants']:.0f}" for kind in kinds]
        for row in table.to_dict("records")
    ]
    head = ["smallest effect that counts / gap", "families with a random weight called"]
    head += [f"{kind.removeprefix('implanted_')} implants above it" for kind in kinds]
    return _markdown(head, rows)


def _percent(value: float) -> str:
    return "any" if value == float("inf") else f"{value:.0%}"


def _runs(stored: Path) -> str:
    runs = [read_json(path) for path in sorted(stored.glob("run-*.json"))]
    rows = [
        [
            ", ".join([run["part"], *(k.removeprefix("implanted_") for k in run.get("kinds", []))]),
            "{}:{}".format(*run["slice"]),
            str(run["workers"]),
            f"{run['wall_seconds'] / 60:.1f} min",
            f"{run['cpu_seconds'] / 3600:.1f} h",
            f"{run['python']}, torch {run['torch']}",
        ]
        for run in runs
    ]
    head = ["part", "models or implants", "processes", "wall time", "CPU time", "Python"]
    return _markdown(head, rows)


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines).replace("%", " %")
