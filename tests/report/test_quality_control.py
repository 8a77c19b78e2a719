"""What the quality-control figure and its section say, on tables counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from scsw.cohort.qc_tables import qc_histograms
from scsw.report import style
from scsw.report.figures.quality_control import draw, shown_bins
from scsw.report.filters import cell_filters, removed_by
from scsw.report.sections.quality_control import numbers, reading
from scsw.report.tables import read_tables
from tests.report.tables import Shape, write_run

TINY = {"seeds": (0,), "arms": (), "n_candidates": 1, "n_types": 2, "n_controls": 5}


def tables(tmp_path, **given):
    run = write_run(tmp_path, Shape(**(TINY | given)))
    return read_tables(run.folder, config=run.config, cohort=run.cohort)


def drawn(found) -> Figure:
    with style.applied():
        fig = draw(found)
        fig.draw_without_rendering()
    return fig


def mito(values) -> pd.DataFrame:
    """Return the histogram of mitochondrial shares, of which the last is dropped."""
    cells = pd.DataFrame({"pct_mito": np.array(values, float)})
    cells = cells.assign(n_genes=10, total_counts=10, doublet_score=0.1)
    table = qc_histograms(cells, np.arange(len(cells)) < len(cells) - 1)
    return table[table["measure"] == "pct_mito"]


def test_every_filter_of_the_config_has_words(tmp_path):
    settings = tables(tmp_path).config["preprocess"] | {"max_cells_per_donor": 3000}
    assert removed_by("min_genes", settings) == "fewer than 200 genes"
    assert removed_by("max_pct_mito", settings) == "over 5 % mitochondrial"
    assert removed_by("max_cells_per_donor", settings) == "over 3,000 of a donor"
    assert removed_by("not_used", settings) == "left out by the source"
    assert removed_by("no_such_filter", settings) == "no such filter"
    assert removed_by("max_cells_per_donor_and_type", settings) == "max cells per donor and type"


def test_genes_are_no_filter_of_cells(tmp_path):
    found = tables(tmp_path)
    assert set(found.qc["axis"]) == {"cells", "genes"}
    filters = cell_filters(found.qc, found.config["preprocess"])
    assert filters["removed"].sum() == 400
    assert not filters["label"].str.contains("min_cells_per_gene|per gene").any()


def test_losses_are_told_with_their_numbers(tmp_path):
    found = tables(tmp_path)
    n_cells = len(found.obs)
    fig = drawn(found)
    left = [text.get_text() for text in fig.axes[0].get_yticklabels()]
    assert left[0] == "all cells of the source" and len(left) == 5
    beside = [text.get_text() for text in fig.axes[0].child_axes[0].get_yticklabels()]
    share = f"{100 * 100 / (n_cells + 100):.3g} %"
    assert beside[0] == f"{n_cells + 400:,}"
    assert beside[-1] == f"{n_cells:,} left, 100 lost ({share})"
    assert "no donor named; no cell type named" in fig.axes[0].get_xlabel()
    legend = [text.get_text() for text in fig.legends[0].get_texts()]
    assert legend == [f"kept ({n_cells:,})", "dropped (400)", "threshold"]


def test_bars_hold_every_cell(tmp_path):
    found = tables(tmp_path)
    for name, rows in found.qc_histograms.groupby("measure"):
        bins = shown_bins(rows, name)
        assert bins[["kept", "dropped"]].sum().tolist() == [len(found.obs), 400]


def test_few_cells_of_a_large_mitochondrial_share_are_put_into_an_open_bin():
    bins = shown_bins(mito([1.0] * 40 + [19.9, 60.0]), "pct_mito")
    last = bins.iloc[-1]
    assert (last["low"], last["high"], last["kept"], last["dropped"]) == (20, np.inf, 0, 1)
    np.testing.assert_allclose(np.diff(bins["low"]), 0.25)


def test_many_of_them_make_all_bins_wide():
    bins = shown_bins(mito([1.0, 4.9, 22.0, 97.0, 100.0]), "pct_mito")
    assert bins["low"].tolist() == list(range(0, 100, 5))
    assert bins["high"].tolist() == list(range(5, 105, 5))
    assert bins["kept"].iloc[[0, 4, 19]].tolist() == [2, 1, 1]
    assert bins["dropped"].sum() == 1


@pytest.mark.parametrize(
    ("limit", "expected"), [(5, "at most 5"), (90, "at most 90, beyond this axis")]
)
def test_the_threshold_is_drawn_where_it_is_or_said_to_lie_beyond(tmp_path, limit, expected):
    found = tables(tmp_path)
    found.config["preprocess"]["max_pct_mito"] = limit
    found.qc_histograms.drop(found.qc_histograms.index, inplace=True)
    made = qc_histograms(
        pd.DataFrame(
            {"pct_mito": [1.0, 2.0, 4.0], "n_genes": 300, "total_counts": 600, "doublet_score": 0.1}
        ),
        np.array([True, True, False]),
    )
    for column in made:
        found.qc_histograms[column] = made[column]
    panel = drawn(found).axes[3]
    assert [text.get_text() for text in panel.texts] == [expected]
    assert len(panel.lines) == (limit == 5)
    assert all(line.get_xdata()[0] == limit for line in panel.lines)


def test_a_filter_that_is_off_has_no_threshold(tmp_path):
    found = tables(tmp_path)
    found.config["preprocess"]["min_genes"] = 0
    panel = drawn(found).axes[1]
    assert [text.get_text() for text in panel.texts] == ["no threshold"] and not panel.lines


def test_cells_of_no_gene_stand_apart_from_the_logarithmic_axis(tmp_path):
    found = tables(tmp_path)
    rows = found.qc_histograms
    rows.loc[len(rows)] = {"measure": "n_genes", "low": 0, "high": 1, "kept": 0, "dropped": 9}
    panel = drawn(found).axes[1]
    labels = [label.get_text() for label in panel.get_xticklabels()]
    ticks = dict(zip(labels, panel.get_xticks(), strict=True))
    zero = [patch.get_data().values.tolist() for patch in panel.patches][-1]
    some = rows[(rows["measure"] == "n_genes") & (rows["low"] > 0)]
    assert zero == [9] and panel.get_xlim()[0] < ticks["0"] < some["low"].min()


def test_cells_without_a_measure_are_counted(tmp_path):
    found = tables(tmp_path)
    score = found.qc_histograms["measure"] == "doublet_score"
    first = found.qc_histograms.index[score][0]
    found.qc_histograms.loc[first, "kept"] -= 7
    assert drawn(found).axes[4].get_xlabel() == "doublet score, not given for 7 cells"


def test_a_measure_that_the_source_lacks_is_named(tmp_path):
    found = tables(tmp_path, absent=("pct_mito", "doublet_score"), losing=())
    fig = drawn(found)
    said = [" ".join(text.get_text().split()) for ax in fig.axes[3:5] for text in ax.texts]
    assert said == [
        "The source gives no mitochondrial genes or share, so the threshold (at most 5) was not "
        "applied.",
        "The source gives no doublet scores, so the threshold (at most 0.3) was not applied.",
    ]
    told = reading(
        numbers(found) | {"medians": {"n_genes": 9, "total_counts": 8, "pct_mito": None}}
    )
    assert "(100 %). The median kept cell has 9 genes and 8 counts." in told[0]
    assert "no mitochondrial genes or share and no doublet scores" in told[1]


def test_the_section_tells_the_largest_losses(tmp_path):
    found = tables(tmp_path)
    found.qc.loc[found.qc["filter"] == "max_pct_mito", "removed"] = 250
    n = numbers(found)
    assert n["n_before"] == len(found.obs) + 400 and n["n_after"] == len(found.obs)
    assert n["medians"]["n_genes"] == found.obs["n_genes"].median()
    told = reading(n)[0]
    assert "The largest losses: over 5 % mitochondrial (250), fewer than 200 genes (100)" in told
