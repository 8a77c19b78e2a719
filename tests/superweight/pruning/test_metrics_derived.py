import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.metrics import mean_squared_error

from scsw.errors import ScswError
from scsw.scgpt.evaluation.scores import classification
from scsw.superweight.pruning.derived_metrics import metric_table, over_donors, with_donors
from scsw.superweight.pruning.metrics import EffectSums
from scsw.superweight.pruning.prediction_metrics import majority_metrics

TYPES = ["A", "B", "C", "D"]  # nothing is a D, and no donor has all of the others
PLACES = [("d1", "A"), ("d1", "B"), ("d2", "A"), ("d2", "C"), ("d3", "B"), ("d3", "C")]
EDITS = 3
EDIT = "weight_set candidate_id of mode scale draw donor_id metric".split()


def made_up(scale, seed=0, n=300):
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    codes = torch.randint(len(PLACES), (n,), generator=draw)
    labels = torch.tensor([TYPES.index(kind) for _, kind in PLACES])[codes]
    logits = normal(n, len(TYPES)) + 1.5 * torch.nn.functional.one_hot(labels, len(TYPES))
    cell = torch.arange(n).repeat_interleave(9)
    made = {
        "z": logits,
        "dz": scale * normal(EDITS, n, len(TYPES)),
        "labels": labels,
        "codes": codes,
        "x": normal(n, 5),
        "dx": scale * normal(EDITS, n, 5),
        "p": normal(9 * n),
        "dp": scale * normal(EDITS, 9 * n),
        "cell": cell,
        "genes": torch.randint(20, (9 * n,), generator=draw),
        "rates": torch.rand(20, generator=draw, dtype=torch.float64),
    }
    made["t"] = made["p"] + normal(9 * n)
    return made


def effects_of(made, error=1e-5, *, detailed=True):
    """Return a table of effects as the step writes it."""
    rates = made["rates"] if detailed else None
    sums = EffectSums(EDITS, 6, 4, detailed=detailed, relative_error=error, detection_rates=rates)
    sums.add_cells(*(made[name] for name in ("z", "dz", "labels", "codes", "x", "dx")))
    if detailed:
        sums.add_expression(*(made[name] for name in ("p", "t", "dp", "cell", "genes", "codes")))
    columns = sums.columns()
    tables = []
    for edit in range(EDITS):
        table = pd.DataFrame(PLACES, columns=["donor_id", "cell_type"])
        keys = {
            "weight_set": "candidate" if detailed else "random",
            "candidate_id": f"e{edit}",
            "of": "",
            "mode": "zero",
            "scale": 0.0,
            "draw": 0,
        }
        tables.append(table.assign(**keys, **{k: list(v[edit]) for k, v in columns.items()}))
    return pd.concat(tables, ignore_index=True)


def of_donor(made, donor):
    return np.isin(
        made["codes"].numpy(), [i for i, place in enumerate(PLACES) if place[0] == donor]
    )


@pytest.mark.parametrize("scale", [1e-3, 1.0, 20.0])
def test_every_metric_of_every_donor_equals_that_of_the_cells_themselves(scale):
    made = made_up(scale)
    table = metric_table(effects_of(made), TYPES).set_index(EDIT).sort_index()
    for edit in range(EDITS):
        for donor in ("d1", "d2", "d3"):
            own = of_donor(made, donor)
            truth, place = made["labels"].numpy()[own], ("candidate", f"e{edit}", "", "zero", 0.0)
            found = table.loc[(*place, 0, donor)]
            for which, logits in (
                ("intact", made["z"][own]),
                ("pruned", (made["z"] + made["dz"][edit])[own]),
            ):
                p = torch.softmax(logits, -1).numpy()
                counts = np.bincount(p.argmax(1), minlength=4)
                expected = classification(truth, p) | {
                    "nll": -torch.log_softmax(logits, -1)[range(own.sum()), truth].mean().item(),
                    "prediction_entropy": stats.entropy(counts),
                    "top_share": counts.max() / counts.sum(),
                    "soft_entropy": stats.entropy(p.mean(0)),
                    "soft_top_share": p.mean(0).max(),
                }
                for name, value in expected.items():
                    assert found.loc[name, which] == pytest.approx(value, rel=1e-9), name


@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_expression_and_embeddings_equal_what_the_libraries_say(scale):
    made = made_up(scale, n=120)
    table = metric_table(effects_of(made), TYPES).set_index(EDIT).sort_index()
    for edit in range(EDITS):
        for donor in ("d1", "d3"):
            own = of_donor(made, donor)
            hidden = own[made["cell"].numpy()]
            p, t, dp = (made[n].numpy()[..., hidden] for n in ("p", "t", "dp"))
            rate, cell = made["rates"][made["genes"]].numpy()[hidden], made["cell"].numpy()[hidden]
            found = table.loc[("candidate", f"e{edit}", "", "zero", 0.0, 0, donor)]
            for which, values in (("intact", p), ("pruned", p + dp[edit])):
                expected = {
                    "gep_mse": mean_squared_error(t, values),
                    "gep_pearson": stats.pearsonr(values, t).statistic,
                }
                for name, value in expected.items():
                    assert found.loc[name, which] == pytest.approx(value, rel=1e-9), name
            # Within cells: a regression with one intercept for each cell.
            design = np.column_stack([rate, cell[:, None] == np.unique(cell)])
            slope = np.linalg.lstsq(design, dp[edit], rcond=None)[0][0]
            assert found.loc["rate_slope", "effect"] == pytest.approx(slope, rel=1e-8)
            assert found.loc["rate_shift", "effect"] == pytest.approx((rate * dp[edit]).mean())
            x, dx = made["x"].numpy()[own], made["dx"][edit].numpy()[own]
            cosine = (x * (x + dx)).sum(1) / np.linalg.norm(x, axis=1)
            cosine = cosine / np.linalg.norm(x + dx, axis=1)
            assert found.loc["cosine_distance", "effect"] == pytest.approx((1 - cosine).mean())
            drift = np.linalg.norm(dx, axis=1) / np.linalg.norm(x, axis=1)
            assert found.loc["relative_drift", "effect"] == pytest.approx(drift.mean())


def test_a_cell_type_has_its_recall():
    made = made_up(1.0)
    effects = effects_of(made)
    by_type = metric_table(effects, TYPES, by=["cell_type", "donor_id"])
    assert not by_type["metric"].isin(["balanced_accuracy", "macro_f1"]).any()
    predicted = (made["z"] + made["dz"][0]).argmax(-1).numpy()
    truth = made["labels"].numpy()
    own = of_donor(made, "d1") & (truth == 0)
    here = by_type.query("cell_type == 'A' and donor_id == 'd1' and candidate_id == 'e0'")
    accuracy = here.set_index("metric").loc["accuracy", "pruned"]
    assert accuracy == pytest.approx((predicted[own] == 0).mean())


def test_what_no_change_leaves_is_exactly_zero_and_not_unresolved():
    table = metric_table(effects_of(made_up(0.0)), TYPES)
    changed = table[table["effect"] != 0]
    assert set(changed["metric"]) <= {"gep_pearson"}  # from two sums: rounding alone, and said so
    assert changed["unresolved"].all()
    assert not table.loc[table["effect"] == 0, "unresolved"].any()


def test_an_effect_within_the_error_of_the_engine_is_unresolved():
    made = made_up(1e-4)
    made["dz"] -= made["dz"].mean((1, 2), keepdim=True)
    for error, known in ((1e-6, False), (1.0, True)):
        table = metric_table(effects_of(made, error), TYPES).set_index("metric")
        for name in ("nll", "brier", "gep_mse", "gep_pearson", "rate_slope", "soft_entropy"):
            assert table.loc[name, "unresolved"].all() == known, name
    accuracy = table.loc["accuracy"]
    assert (accuracy["floor"] == 1 / accuracy["n_cells"]).all()


@pytest.mark.parametrize("name", ["brier", "gep_mse", "gep_pearson", "rate_slope", "soft_entropy"])
def test_floors_bound_what_an_error_of_the_changes_does(name):
    error, made = 1e-6, made_up(0.1)
    true = metric_table(effects_of(made, error), TYPES).set_index(EDIT).xs(name, level="metric")
    draw = torch.Generator().manual_seed(1)
    for _ in range(3):
        wrong = dict(made)
        for key, at in (("dz", -1), ("dp", None)):
            sign = torch.randint(2, made[key].shape, generator=draw).double() * 2 - 1
            size = made[key].abs()
            size = size.amax(at, keepdim=True) if at else size
            wrong[key] = made[key] + error * sign * size
        table = metric_table(effects_of(wrong, error), TYPES).set_index(EDIT).sort_index()
        off = (table.xs(name, level="metric")["effect"] - true["effect"]).abs()
        assert off.max() > 0
        assert (off <= true["floor"]).all()


def test_random_controls_beside_candidates_have_what_was_kept_of_them():
    made = made_up(0.5)
    both = pd.concat([effects_of(made), effects_of(made, detailed=False)], ignore_index=True)
    table = metric_table(both, TYPES)
    random = table[table["weight_set"] == "random"]
    assert set(random["metric"]) == {"nll", "accuracy"}
    candidate = table[(table["weight_set"] == "candidate")]
    same = candidate[candidate["metric"].isin(["nll", "accuracy"])]
    np.testing.assert_array_equal(random["effect"], same["effect"])
    alone = metric_table(effects_of(made, detailed=False), TYPES)
    assert set(alone["metric"]) == {"nll", "accuracy"}


def test_neighbours_are_read_where_they_were_measured():
    effects = effects_of(made_up(0.5)).assign(sum_neighbours_kept=lambda t: 0.75 * t["n_cells"])
    table = metric_table(effects, TYPES).set_index("metric").loc["neighbours_kept"]
    assert table["intact"].eq(1).all()
    assert table["pruned"].to_numpy() == pytest.approx(0.75)


def test_donors_count_alike_and_stages_are_told_apart():
    effects = effects_of(made_up(0.5))
    donors = pd.DataFrame({"donor_id": ["d1", "d2", "d3", "d9"], "adnc": [0, 3, 3, 1]})
    table = metric_table(with_donors(effects, donors, ["adnc"]), TYPES, by=["adnc", "donor_id"])
    found = over_donors(table).set_index(["candidate_id", "adnc", "metric"])
    single = (
        metric_table(effects, TYPES).set_index(["candidate_id", "metric", "donor_id"]).sort_index()
    )
    for name in ("nll", "macro_f1", "rate_slope"):
        values = single.loc[("e1", name), "effect"]
        assert found.loc[("e1", 3, name), "effect"] == pytest.approx(values[["d2", "d3"]].mean())
        assert found.loc[("e1", 0, name), "effect"] == pytest.approx(values["d1"])
    assert found.loc[("e1", 3, "nll"), "n_donors"] == 2
    with pytest.raises(ScswError, match="1 none"):
        with_donors(effects, donors[1:], ["adnc"])
    with pytest.raises(ScswError, match="1 donors have two values"):
        with_donors(effects, pd.concat([donors, donors.assign(adnc=[0, 3, 3, 2])]), ["adnc"])
    with pytest.raises(ScswError, match="unknown cell types"):
        metric_table(effects, TYPES[1:])


def test_the_majority_floor_is_what_its_predictions_score():
    frequencies = pd.Series({"B": 0.5, "A": 0.3, "C": 0.15, "D": 0.05})
    f = frequencies[TYPES].to_numpy()
    for truth in ([0, 0, 1, 1, 1, 2], [0, 2, 2, 2]):
        truth = np.array(truth)
        true = np.bincount(truth, minlength=4)[None]
        found = majority_metrics(true, frequencies, TYPES)
        p = np.tile(f, (len(truth), 1))
        expected = classification(truth, p)
        expected |= {"soft_entropy": stats.entropy(f), "soft_top_share": 0.5, "top_share": 1.0}
        for name, value in expected.items():
            assert found[name][0] == pytest.approx(value), name


def test_the_floor_of_expression_is_that_of_its_mean():
    made = made_up(0.5)
    frequencies = pd.Series(0.25, index=TYPES)
    table = metric_table(effects_of(made), TYPES, frequencies=frequencies)
    donors = [PLACES[code][0] for code in made["codes"].tolist()]
    of_value = np.array(donors)[made["cell"].numpy()]
    for name, expected in (("gep_mse", lambda t: t.var()), ("gep_pearson", lambda t: 0.0)):
        own = table[table["metric"] == name].set_index("donor_id")["majority"]
        for donor in ("d1", "d2", "d3"):
            truth = made["t"].numpy()[of_value == donor]
            assert own[donor].to_numpy() == pytest.approx(expected(truth)), (name, donor)


def test_the_majority_floor_stands_beside_every_metric_that_has_one():
    frequencies = pd.Series({"B": 0.5, "A": 0.3, "C": 0.15, "D": 0.05})
    table = metric_table(effects_of(made_up(0.5)), TYPES, frequencies=frequencies)
    known = set(table.loc[table["majority"].notna(), "metric"])
    lacking = set(table["metric"]) - known
    assert lacking == {
        "relative_drift",
        "cosine_distance",
        "expression_shift",
        "rate_shift",
        "rate_slope",
    }
