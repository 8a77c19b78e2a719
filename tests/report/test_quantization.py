"""What the report says about rounding, from invented tables."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from scsw.report import style
from scsw.report.figures import DRAW
from scsw.report.figures.quantization import block_label, block_order
from scsw.report.methods import methods_text
from scsw.report.numbers import collect
from scsw.report.provenance_records import read_records
from scsw.report.sections import quantization
from scsw.report.tables import read_tables
from tests.report.prose import unsupported
from tests.report.tables import Shape, write_run

ARMS = ("untrained", "implanted_constant")
SHAPE = Shape(n_donors=36, seeds=(0,), arms=ARMS, n_types=2, n_controls=5, n_candidates=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("quantization"), SHAPE)


@pytest.fixture(scope="module")
def tables(run):
    return read_tables(run.folder, config=run.config, cohort=run.cohort)


def told(tables) -> list[str]:
    numbers = quantization.numbers(tables)
    said = quantization.reading(numbers)
    assert unsupported(" ".join(said), numbers) == []
    return said


def test_a_rescue_is_told_with_its_caution(tables):
    conclusion, model, implanted = told(tables)
    assert "an interval below zero in 10 of 10 settings and above zero in 0" in conclusion
    assert "helps more. The random weights are not matched in size" in conclusion
    assert model.startswith("Seed 0, with one scale for whole matrices: INT8 changes the cell-type")
    assert "with 2 candidates held out the NLL changes by" in model
    assert "changed the rounding of 1,800 other weights" in model
    assert implanted.startswith("Implanted, constant, with one scale")


def test_a_null_result_is_told_as_plainly(tables):
    null = tables.quantization.assign(n_changed=0)
    apart = null["hold_out"] == "difference"
    null.loc[apart, ["effect_low", "effect_high"]] = (-0.01, 0.01)
    conclusion, model, _ = told(replace(tables, quantization=null))
    assert "an interval below zero in 0 of 10 settings" in conclusion
    assert conclusion.endswith("not shown to help more than holding out random weights does.")
    assert "No candidate sets a scale, so that no other weight was rounded otherwise." in model


def test_too_few_donors_and_no_candidates_are_told(tables):
    few = tables.quantization.assign(effect_low=float("nan"), effect_high=float("nan"), n_donors=4)
    conclusion, model, _ = told(replace(tables, quantization=few))
    assert conclusion.startswith("With 4 test donors it cannot be told")
    assert "no interval available" in model and "smallest effect that counts" not in model
    alone = tables.quantization[tables.quantization["hold_out"] == "none"]
    conclusion, model, _ = told(replace(tables, quantization=alone))
    assert "no candidate that could be held out" in conclusion and "held out" not in model


def test_fragility_is_measured_against_what_counts_in_pruning(tables):
    for limit, expected in ((0.001, 10), (10.0, 0)):
        verdicts = tables.verdicts.assign(min_effect=limit)
        model = quantization.numbers(replace(tables, verdicts=verdicts))["models"][0]
        assert (model["n_fragile"], model["n_settings"]) == (expected, 10)


def test_implanted_models_are_shown_and_other_controls_are_not(tables):
    assert tables.quantized_models == [("real", 0), ("implanted_constant", 0)]
    numbers = quantization.numbers(tables)
    assert [model["label"] for model in numbers["models"]] == ["seed 0", "implanted, constant"]
    assert numbers["difference"]["n_settings"] == 10  # of the fine-tuned model alone
    with style.applied():
        assert len(DRAW["quantization"](tables).axes) == 4


def test_the_whole_matrix_is_the_last_block(tables):
    assert block_order(tables.quantization) == [32, 128, 512, 4096, 0]
    assert [block_label(size) for size in (4096, 0)] == ["4,096", "matrix"]


def test_models_that_do_not_fit_on_the_page_are_counted(tables):
    own = tables.quantization[tables.quantization["arm"] == "real"]
    many = pd.concat([own.assign(seed=seed) for seed in range(8)])
    config = tables.config | {"seeds": list(range(8)), "control_arms": []}
    with style.applied():
        figure = DRAW["quantization"](replace(tables, quantization=many, config=config))
    assert figure.axes[0].get_title("left").endswith("seed 0, INT8 (first 6 of 8 models)")


def test_methods_name_bits_and_blocks(tables, run):
    text = methods_text(collect(tables, read_records(run.folder, tables.config, tables.cohort)))
    assert (
        "(INT8, INT4; symmetric, one step for each 32 weights, each 128 weights, each 512 weights, "
        "each 4,096 weights, the whole matrix), with nothing held out"
    ) in text
