"""The step `quantize` and what is derived from its table."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from scsw.errors import ScswError
from scsw.files import read_table, write_table
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import encoder_layers, load_model
from scsw.settings import section_settings
from scsw.superweight.quantization.quantization_effects import donor_changes, quantization_effects
from scsw.superweight.quantization.quantize import all_settings, quantize, random_weights
from scsw.superweight.quantization.rounding import rounded
from scsw.superweight.verdict.statistics import studentised_interval
from tests.tiny import COMPUTE

SETTINGS = section_settings("quantize", {"bits": [8, 4], "block_sizes": [16, 0], "random_draws": 2})
STATISTICS = section_settings("statistics", {"bootstrap": 300})
TURNED = 11  # channels that the feed-forward module of the last block turns round
DEAD = 23  # its hidden unit that never fires: the weight behind it can be of any size
PLACE = (2, 4, DEAD)


def family_of(places):
    table = pd.DataFrame(places, columns=["block", "row", "column"])
    names = [f"ffn_down.b{block}.r{row}.c{column}" for block, row, column in places]
    return table.assign(family="ffn_down", candidate_id=names)


@pytest.fixture(scope="module")
def planted(tuned, tmp_path_factory):
    """Return the folder of a model that needs its last feed-forward module, and a family of one.

    The module hands channel k what was in channel k + 1, and what reads its output is turned round
    accordingly. Its weights are 0, 1 and -1, which every integer format holds, but for the planted
    one.
    """
    folder = tmp_path_factory.mktemp("planted")
    shutil.copytree(tuned.model, folder / "model")
    model = load_model(tuned.model)
    layer = encoder_layers(model)[PLACE[0]]
    onward = torch.arange(layer.norm2.weight.numel())
    onward[:TURNED] = onward[:TURNED].roll(-1)
    with torch.no_grad():
        for parameter in (*layer.linear1.parameters(), *layer.linear2.parameters()):
            parameter.zero_()
        for k in range(TURNED):
            layer.linear1.weight[2 * k, k], layer.linear1.weight[2 * k + 1, k] = 1, -1
            for channel, sign in ((onward[k], 1), (k, -1)):
                layer.linear2.weight[k, 2 * channel] = sign
                layer.linear2.weight[k, 2 * channel + 1] = -sign
        for parameter in layer.norm2.parameters():
            parameter.copy_(parameter[onward])
        for reader in (model.cls_decoder._decoder[0], model.decoder.fc[0]):
            reader.weight.copy_(reader.weight[:, onward])
        layer.linear1.bias[DEAD] = -1
        layer.linear2.weight[PLACE[1:]] = 300.0
    torch.save(model.state_dict(), folder / "model" / "best_model.pt")
    write_table(family_of([PLACE]), folder / "candidates.parquet")
    return SimpleNamespace(model=folder / "model", candidates=folder / "candidates.parquet")


@pytest.fixture(scope="module")
def table(planted, tuned, tmp_path_factory):
    out = tmp_path_factory.mktemp("quantize") / "quantization.parquet"
    keys = {"arm": "implanted_constant", "seed": 3}
    quantize(
        planted.model,
        tuned.cohort,
        planted.candidates,
        out,
        settings=SETTINGS,
        compute=COMPUTE,
        **keys,
    )
    record = json.loads((out.parent / "quantize.provenance.json").read_text())
    assert record["simulated"] is True and record["seed"] == 3
    return read_table(out)


def test_the_table_holds_every_setting_once(table):
    assert (
        list(table.columns)
        == (
            "cohort arm seed bits block_size hold_out draw n_held_out n_changed donor_id cell_type "
            "n_cells n_masked sum_nll sum_nll_intact n_correct n_correct_intact sum_sq_error "
            "sum_sq_error_intact"
        ).split()
    )
    assert set(table["cohort"]) == {"tiny"} and set(table["arm"]) == {"implanted_constant"}
    settings = table[["bits", "block_size", "hold_out", "draw"]].drop_duplicates()
    assert len(settings) == 2 * 2 * 4
    assert set(settings["block_size"]) == {16, 0}
    held = table.groupby("hold_out")["n_held_out"].agg(["min", "max"])
    assert held.to_numpy().tolist() == [[1, 1], [0, 0], [1, 1]]  # candidates, none, random
    assert not table.duplicated(
        ["bits", "block_size", "hold_out", "draw", "donor_id", "cell_type"]
    ).any()
    assert table["donor_id"].nunique() == 12 and table["donor_id"].str.startswith("test").all()


def test_intact_sums_are_the_same_in_every_setting(table):
    intact = [name for name in table if name.endswith("_intact")] + ["n_cells", "n_masked"]
    for _, own in table.groupby(["donor_id", "cell_type"]):
        assert (own[intact].nunique() == 1).all()


def test_sums_are_what_the_model_gives_in_the_packages_own_pass(table, planted, tuned):
    model = load_model(planted.model)
    rows = np.arange(len(tuned.tokenizer))
    whole = tuned.tokenizer.batch(rows)
    masked = tuned.tokenizer.batch(rows, mask_ratio=SETTINGS.mask_ratio)

    def measured():
        with torch.no_grad():
            scores = forward_padded(model, whole)["cls_output"].double()
            found = forward_padded(model, masked)["mlm_output"]
        nll = torch.nn.functional.cross_entropy(scores, whole.labels, reduction="sum").item()
        correct = int((scores.argmax(1) == whole.labels).sum())
        error = ((found - masked.target)[masked.hidden] ** 2).sum().item()
        return nll, correct, error

    own = table[(table["bits"] == 4) & (table["block_size"] == 16) & (table["hold_out"] == "none")]
    names = ["sum_nll", "n_correct", "sum_sq_error"]
    assert own[[f"{name}_intact" for name in names]].sum().to_numpy() == pytest.approx(
        measured(), rel=1e-5
    )
    with rounded(model, bits=4, block_size=16, held_out={}):
        assert own[names].sum().to_numpy() == pytest.approx(measured(), rel=1e-5)
    assert own["n_masked"].sum() == int(masked.hidden.sum())


def test_a_super_weight_breaks_large_blocks_and_holding_it_out_mends_them(table):
    changes = donor_changes(table).groupby(["bits", "block_size", "hold_out"])["nll"].mean()
    for bits in (8, 4):
        # Nothing but the planted weight is left of the module.
        assert changes[bits, 0, "none"] > 0.2
        assert changes[bits, 0, "random"] == pytest.approx(changes[bits, 0, "none"])
        assert changes[bits, 0, "candidates"] < 0.2 * changes[bits, 0, "none"]
        # The planted weight's own block of 16 holds nothing that the module needs.
        assert changes[bits, 16, "none"] < 0.2 * changes[bits, 0, "none"]
    assert abs(changes[8, 0, "candidates"]) < 0.01


def test_the_weights_that_the_exemption_changes_are_counted(table):
    n = table.groupby(["bits", "block_size", "hold_out"])["n_changed"].agg(["min", "max"])
    assert (n.xs("none", level="hold_out") == 0).all(axis=None)
    assert (n.xs("random", level="hold_out") == 0).all(axis=None)  # they set no scale
    for bits in (8, 4):
        assert n.loc[bits, 0, "candidates"].tolist() == [4 * TURNED, 4 * TURNED]
        assert n.loc[bits, 16, "candidates"].tolist() == [0, 0]


def test_the_step_gives_the_same_rows_again_and_in_other_batches(planted, tuned, table, tmp_path):
    fewer = section_settings("quantize", {**vars(SETTINGS), "bits": [4], "random_draws": 1})
    expected = table[(table["bits"] == 4) & (table["draw"] == 0)].reset_index(drop=True)
    for size in (COMPUTE.batch_size, 5):
        compute = section_settings("compute", {**vars(COMPUTE), "batch_size": size})
        quantize(
            planted.model,
            tuned.cohort,
            planted.candidates,
            tmp_path / "again.parquet",
            settings=fewer,
            compute=compute,
            arm="implanted_constant",
            seed=3,
        )
        again = read_table(tmp_path / "again.parquet")
        same = size == COMPUTE.batch_size
        pd.testing.assert_frame_equal(again, expected, check_exact=same, rtol=1e-5)


def test_random_weights_are_as_many_of_the_same_tensors_and_no_candidates(tuned):
    family = family_of([(0, 1, 2), (0, 1, 3), (2, 0, 0)])
    draws = [random_weights(tuned.network, family, seed=1, draw=draw) for draw in range(3)]
    for drawn in draws:
        assert drawn["block"].tolist() == [0, 0, 2]
        places = set(drawn.itertuples(index=False, name=None))
        assert len(places) == 3
        taken = set(family[["block", "row", "column"]].itertuples(index=False, name=None))
        assert not places & taken
    assert not draws[0].equals(draws[1])
    assert draws[0].equals(random_weights(tuned.network, family, seed=1, draw=0))
    assert not draws[0].equals(random_weights(tuned.network, family, seed=2, draw=0))


def test_a_block_of_candidates_alone_leaves_nothing_to_draw(tuned):
    rows, columns = encoder_layers(tuned.network)[0].linear2.weight.shape
    every = [(0, row, column) for row in range(rows) for column in range(columns)]
    with pytest.raises(ScswError, match="384 candidates and 0 other weights"):
        random_weights(tuned.network, family_of(every), seed=0, draw=0)


def test_without_candidates_nothing_is_held_out(tuned):
    ways = all_settings(tuned.network, family_of([]), SETTINGS, seed=0)
    assert [(way.bits, way.block_size, way.hold_out) for way in ways] == [
        (8, 16, "none"),
        (8, 0, "none"),
        (4, 16, "none"),
        (4, 0, "none"),
    ]


def effects_of(rises, **options):
    """Derive effects from a table with these rises per cell of donors by way and draw."""
    rows = [
        (
            "real",
            0,
            8,
            0,
            way,
            draw,
            1,
            7,
            f"d{i:02}",
            kind,
            n,
            n * (1 + rise),
            n,
            0,
            0,
            1,
            2.0,
            1.0,
        )
        for (way, draw), donors in rises.items()
        for i, rise in enumerate(donors)
        for kind, n in (("A", 1), ("B", 3))
    ]
    names = "arm seed bits block_size hold_out draw n_held_out n_changed donor_id cell_type n_cells"
    names += " sum_nll sum_nll_intact n_correct n_correct_intact n_masked sum_sq_error"
    table = pd.DataFrame(rows, columns=[*names.split(), "sum_sq_error_intact"])
    found = quantization_effects(table, statistics=STATISTICS, **options)
    return found.set_index("hold_out")


def test_draws_are_averaged_and_donors_paired():
    base = np.linspace(0.1, 1.2, 12)
    rises = {("none", 0): base + 1, ("candidates", 0): base}
    rises |= {("random", 0): base + 0.5, ("random", 1): base + 0.7}
    found = effects_of(rises)
    assert found.loc["none", "effect_nll"] == pytest.approx(base.mean() + 1)
    assert found.loc["random", "effect_nll"] == pytest.approx(base.mean() + 0.6)
    assert found.loc["random", "lowest"] == pytest.approx(base.mean() + 0.5)
    assert found.loc["random", "highest"] == pytest.approx(base.mean() + 0.7)
    low, high = studentised_interval(base, n_resamples=300, seed=STATISTICS.seed)
    assert found.loc["candidates", "effect_low"] == pytest.approx(low)
    assert found.loc["candidates", "effect_high"] == pytest.approx(high)
    # Every donor gains 0.6: paired, nothing is left to be uncertain of.
    gain = found.loc["difference", ["effect_nll", "effect_low", "effect_high"]]
    assert gain.to_numpy(float) == pytest.approx([-0.6, -0.6, -0.6])
    assert found.loc["none", "effect_gep_mse"] == pytest.approx(1.0)
    assert (found["n_donors"] == 12).all()


def test_too_few_donors_or_divided_cells_give_no_interval():
    few = effects_of({("none", 0): np.arange(9.0)})
    assert few["effect_low"].isna().all() and few["effect_nll"].notna().all()
    divided = effects_of({("none", 0): np.arange(12.0)}, donors_are_units=False)
    assert divided["effect_high"].isna().all()
