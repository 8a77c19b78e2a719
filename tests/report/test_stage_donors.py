"""Donors as points: those of the primary stage tests, and those of the pruning effects."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from scsw.report import style
from scsw.report.figures import pruning, stages
from scsw.report.figures.stage_donors import donor_points, draw_donors
from scsw.report.tables import read_tables
from tests.report.tables import Shape, write_run


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("donors"), Shape(seeds=(0,), arms=(), n_candidates=2))
    path = run.folder / "real/0/map/donor_scores.parquet"
    scores = pd.read_parquet(path)
    first = scores.head(3).copy()
    first["donor_id"] = ["reference", "fitted", "few"]
    first["is_reference"] = [True, False, False]
    first["split"] = ["test", "validation", "test"]
    first["n_cells"] = [40, 40, 1]
    pd.concat([scores, first]).to_parquet(path)
    return read_tables(run.folder, config=run.config, cohort=run.cohort)


def test_donors_of_the_stage_tests_are_those_that_were_regressed(tables):
    donors = tables.stage_donors
    assert set(donors["donor_id"]) == {"D001", "D002", "D003", "D007", "D008", "D009"}
    assert not donors.duplicated(["seed", "candidate_id", "cell_class", "donor_id"]).any()


def test_points_are_standard_deviations_with_one_point_per_donor():
    rows = [("a", "x", 0, 1.0), ("a", "y", 0, 3.0), ("b", "x", 2, 5.0), ("c", "x", -1, 99.0)]
    table = pd.DataFrame(rows, columns=["donor_id", "region", "adnc", "contribution"])
    points = donor_points(table.assign(cell_class="glia"), "adnc")
    assert list(points["donor_id"]) == ["a", "b"] and list(points["stage"]) == [0, 2]
    np.testing.assert_allclose(points["sd"], [-0.5, 1.0])  # mean 3, SD 2, region by region
    alike = table.assign(cell_class="glia", contribution=1.0)
    assert donor_points(alike, "adnc")["sd"].isna().all()


def test_a_line_has_the_slope_of_the_test_and_each_donor_a_dot(tables):
    best = tables.best_candidates(1)[["seed", "candidate_id"]]
    donors = tables.stage_donors.merge(best)
    primary = tables.stages[tables.stages["primary"].astype(bool)].merge(best)
    with style.applied():
        fig = style.new_figure(style.DOUBLE, 50).subfigures(1, 1)
        draw_donors(fig, donors, primary, "seed 0")
    for ax, test in zip(fig.axes, primary.sort_values("cell_class").itertuples(), strict=True):
        *marks, line = ax.lines[1:]
        x, y = line.get_data()
        assert (y[1] - y[0]) / (x[1] - x[0]) == pytest.approx(test.beta)
        assert sum(len(mark.get_xdata()) for mark in marks) == 6
        assert ax.get_title().startswith(f"{test.cell_class}\nn = 6, q ")


def test_nothing_tested_is_said_in_a_sentence(tables):
    untested = SimpleNamespace(
        **{name: getattr(tables, name) for name in ("verdicts", "best_candidates", "config")},
        stages=tables.stages.assign(status="not tested"),
    )
    with style.applied():
        assert stages.draw(untested).get_label() == style.PLACARD


def test_the_mean_over_donors_is_the_effect_of_the_verdict(tables):
    for candidate in tables.verdicts.itertuples():
        effects = pruning.donor_effects(tables, candidate)
        assert len(effects) == candidate.n_test_donors == 4
        assert effects.mean() == pytest.approx(candidate.effect_nll)
