import numpy as np
import pandas as pd
import pytest

from scsw.cohort.harmonise import SPLITS
from scsw.cohort.split import deal, largest_remainder, split_cells
from scsw.errors import ScswError

SHARES = {"train": 0.4, "validation": 0.1, "discovery": 0.2, "test": 0.3}


def donors(n, n_reference=0, n_unstaged=0, staging="adnc", cells=3):
    """Return a cohort's annotation; the first donors are references, the next have no stage."""
    number = np.repeat(np.arange(n), cells)
    staged = number >= n_reference + n_unstaged
    stage = np.where(staged, number % 4, -1)
    return pd.DataFrame(
        {
            "cell_id": [f"c{i:04d}" for i in range(n * cells)],
            "donor_id": [f"d{i:03d}" for i in number],
            "cell_type": np.resize(["A", "B"], n * cells),
            "sex": np.where(number % 8 < 4, "female", "male"),
            "study": np.where(number % 16 < 8, "one", "two"),
            "adnc": stage if staging == "adnc" else -1,
            "braak": np.where(stage < 0, -1, 2 * stage) if staging == "braak" else -1,
            "is_reference": number < n_reference,
        },
        index=[f"c{i:04d}" for i in range(n * cells)],
    )


def per_donor(obs, split):
    table = obs.assign(split=split.of_cell).groupby("donor_id")["split"]
    assert (table.nunique() == 1).all()  # no donor stands in two parts
    return table.first()


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (40, [16, 4, 8, 12]),
        (89, [35, 9, 18, 27]),
        (48, [19, 5, 10, 14]),
        (10, [4, 1, 2, 3]),
        (5, [2, 1, 1, 1]),
        (4, [1, 1, 1, 1]),
    ],
)
def test_largest_remainder(n, expected):
    counts = largest_remainder(n, SHARES)
    assert sum(counts.values()) == n
    assert list(counts.values()) == expected
    # Each part lies within one of its due, unless that would leave a part empty.
    if n >= 10:
        assert all(abs(counts[name] - n * SHARES[name]) < 1 for name in SPLITS)


def test_deal_spreads_parts_evenly():
    counts = {"train": 16, "validation": 4, "discovery": 8, "test": 12}
    sequence = deal(counts)
    assert {name: sequence.count(name) for name in counts} == counts
    for start in range(0, 40, 10):  # each tenth of the order has its due, give or take one
        part = sequence[start : start + 10]
        assert all(abs(part.count(name) - counts[name] / 4) <= 1 for name in counts)


def test_forty_donors():
    obs = donors(40)
    split = split_cells(obs, SHARES, seed=0)
    sizes = per_donor(obs, split).value_counts().to_dict()
    assert sizes == {"train": 16, "validation": 4, "discovery": 8, "test": 12}
    assert split.unit == "donor" and split.warnings == []


@pytest.mark.parametrize("staging", ["adnc", "braak"])
@pytest.mark.parametrize("seed", range(3))
def test_parts_are_alike_in_stage_sex_and_study(staging, seed):
    obs = donors(80, staging=staging)
    part = per_donor(obs, split_cells(obs, SHARES, seed))
    table = obs.drop_duplicates("donor_id").set_index("donor_id").assign(part=part)
    for column in (staging, "sex", "study"):
        found = pd.crosstab(table[column], table["part"])
        due = np.outer(found.sum(axis=1), found.sum(axis=0)) / 80
        assert np.abs(found.to_numpy() - due).max() <= 1.5


@pytest.mark.parametrize("n", [3, 40])
def test_coded_texts_are_divided_as_plain_ones(n):
    """Also where a donor or a type has no cell left."""
    obs = donors(n, cells=20 if n == 3 else 3)
    coded = obs.astype(dict.fromkeys(["donor_id", "cell_type", "sex", "study"], "category"))
    coded["cell_type"] = coded["cell_type"].cat.add_categories("gone")
    coded["donor_id"] = coded["donor_id"].cat.add_categories("d999")
    plain = split_cells(obs, SHARES, seed=0)
    found = split_cells(coded, SHARES, seed=0)
    assert found.of_cell.astype(str).tolist() == plain.of_cell.tolist()
    assert (found.unit, found.warnings) == (plain.unit, plain.warnings)


def test_reference_and_unstaged_donors_train():
    obs = donors(40, n_reference=5, n_unstaged=3)
    part = per_donor(obs, split_cells(obs, SHARES, seed=1))
    assert (part[:8] == "train").all()
    assert part.value_counts().to_dict() == {
        "train": 16,
        "test": 12,
        "discovery": 8,
        "validation": 4,
    }


def test_reference_donors_train_even_if_the_source_gives_them_a_stage():
    obs = donors(40)
    obs["is_reference"] = obs["donor_id"].isin(["d007", "d031", "d039"])
    for seed in range(5):
        part = per_donor(obs, split_cells(obs, SHARES, seed))
        assert (part[["d007", "d031", "d039"]] == "train").all()


def test_more_unstaged_donors_than_training_takes():
    obs = donors(40, n_unstaged=30)
    part = per_donor(obs, split_cells(obs, SHARES, seed=1))
    assert (part[:30] == "train").all()
    assert part[30:].value_counts().to_dict() == {"test": 5, "discovery": 3, "validation": 2}


@pytest.mark.parametrize("n_staged", [0, 2])
def test_without_stages_all_donors_are_divided_and_a_warning_says_so(n_staged):
    obs = donors(20, n_unstaged=20 - n_staged)
    split = split_cells(obs, SHARES, seed=0)
    assert set(per_donor(obs, split)) == set(SPLITS)
    assert len(split.warnings) == 1
    assert f"Only {n_staged} of 20 donors" in split.warnings[0]


def test_three_donors_with_a_stage_are_enough_to_divide_by_it():
    obs = donors(20, n_unstaged=17)
    split = split_cells(obs, SHARES, seed=0)
    assert not split.warnings
    assert set(per_donor(obs, split)[17:]) == {"validation", "discovery", "test"}


def test_the_smallest_cohort_that_is_divided_by_donor():
    obs = donors(4)
    assert per_donor(obs, split_cells(obs, SHARES, seed=0)).nunique() == 4


@pytest.mark.parametrize("n", [1, 3])
def test_too_few_donors_are_divided_by_cell_and_type(n):
    obs = donors(n, cells=120 // n)
    split = split_cells(obs, SHARES, seed=0)
    assert split.unit == "cell"
    assert "fewer than the 4" in split.warnings[0]
    for cell_type in ("A", "B"):
        sizes = split.of_cell[obs["cell_type"] == cell_type].value_counts().to_dict()
        assert sizes == {"train": 24, "validation": 6, "discovery": 12, "test": 18}


@pytest.mark.parametrize("n", [1, 40])
def test_the_seed_decides_and_the_order_of_cells_does_not(n):
    obs = donors(n, cells=60 if n == 1 else 3)
    first = split_cells(obs, SHARES, seed=0).of_cell
    again = split_cells(obs.sample(frac=1, random_state=5), SHARES, seed=0).of_cell
    pd.testing.assert_series_equal(again.sort_index(), first.sort_index(), check_names=False)
    assert not split_cells(obs, SHARES, seed=1).of_cell.equals(first)


def test_shares_must_add_up():
    with pytest.raises(ScswError, match=r"add up to 1\.1"):
        split_cells(donors(8), SHARES | {"test": 0.4}, seed=0)
