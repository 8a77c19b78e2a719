"""Every figure at its extremes: no text overlaps, leaves the page or is too small."""

from __future__ import annotations

import pytest

from scsw.report import style
from scsw.report.figures import DRAW
from scsw.report.names import figure_names
from scsw.report.tables import read_tables
from tests.report.overlaps import outside, overlapping, too_small
from tests.report.tables import Shape, write_run

SHAPES = {
    "smallest": Shape(seeds=(0,), arms=(), n_candidates=1, n_types=2, n_controls=10),
    "largest": Shape(
        seeds=(0, 1, 2),
        arms=("pretrained", "untrained", "implanted_constant", "implanted_informative", "shuffled"),
        n_candidates=20,
        n_types=24,
        n_donors=84,
        n_blocks=12,
        n_heads=8,
        n_controls=24,
        n_positions=60,
        n_regions=3,
        verdicts={0: "causal, constant", 1: "causal, informative"},
        cohorts=("sea_ad_middle_temporal", "rosmap_prefrontal"),
        bulk=("adni_blood_microarray", "a_second_one"),
        spatial="go on",
        losing=(
            *("not_used", "min_genes", "min_counts", "max_pct_mito", "max_doublet_score"),
            *("min_cells_per_type", "max_cells_per_donor_and_type", "max_cells_per_donor"),
            *("a_filter_of_a_source_that_is_not_written_yet", "type_not_in_training"),
        ),
        studies=tuple(f"Study of brain bank number {i}" for i in range(9)),
    ),
    "four cohorts, five seeds": Shape(
        seeds=(0, 1, 2, 3, 4),
        arms=("pretrained", "untrained", "implanted_constant", "implanted_informative", "shuffled"),
        type_names=tuple(f"Type {letter} with a name as long as some are" for letter in "ABCDEF"),
        studies=tuple(f"Study of brain bank number {i}" for i in range(4)),
        cohorts=("sea_ad_middle_temporal", "sea_ad_dlpfc", "rosmap_prefrontal", "grubman_2019"),
    ),
    "nothing found": Shape(
        seeds=(0, 1),
        arms=("untrained",),
        n_candidates=0,
        n_positions=0,
        spatial="stop",
        losing=(),
        absent=("pct_mito", "doublet_score"),
    ),
    "not assessable": Shape(
        seeds=(0,),
        arms=("shuffled",),
        n_candidates=2,
        n_controls=10,
        n_positions=1,
        n_regions=0,
        one_start=False,
        verdicts={0: "not assessable"},
        pathways=False,
        stages_tested=False,
        bulk=("adni",),
        spatial="few",
        min_effect=-0.01,
        detectable_effect=1e-5,
    ),
}


@pytest.fixture(scope="module", params=SHAPES, ids=lambda name: name.replace(" ", "_"))
def tables(request, tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("shape"), SHAPES[request.param])
    return read_tables(
        run.folder, config=run.config, cohort=run.cohort, replication_dir=run.replication
    )


@pytest.mark.parametrize("name", DRAW)
def test_texts_do_not_overlap_or_leave_the_page(tables, name):
    if name not in figure_names(tables.config, tables.cohort):
        pytest.skip("not drawn in this run")
    with style.applied():
        fig = DRAW[name](tables)
        style.mark_simulated(fig)
        fig.draw_without_rendering()
        assert overlapping(fig) == []
        assert outside(fig) == []
        assert too_small(fig) == []
        width, height = (side / style.MM for side in fig.get_size_inches())
        assert width <= style.DOUBLE + 1e-6 and height <= style.MAX_HEIGHT + 1e-6


def test_the_check_finds_overlaps_and_small_texts():
    with style.applied():
        fig = style.new_figure(style.SINGLE, 40)
        fig.text(0.5, 0.5, "one")
        fig.text(0.51, 0.5, "two", size=6)
        fig.text(0.99, 0.2, "outside the page")
        fig.draw_without_rendering()
        assert overlapping(fig) == [("one", "two")]
        assert outside(fig) == ["outside the page"]
        assert too_small(fig) == ["two"]
