import numpy as np
import pandas as pd
import pytest

from scsw.cohort.harmonise import CODINGS, harmonise, validate
from scsw.errors import ScswError


@pytest.fixture
def obs():
    """Two donors with everything that a finished cohort has."""
    return harmonise(
        pd.DataFrame(
            {
                "cell_id": ["a", "b", "c"],
                "donor_id": ["d1", "d1", "d2"],
                "cell_type": ["Sst", "Vip", "Sst"],
                "cell_class": "inhibitory",
                "adnc": [3, 3, -1],
                "age_death": [90, 90, np.nan],
                "age_censored": [True, True, False],
                "total_counts": 900,
                "n_genes": 400,
                "split": "train",
                "cohort": "c",
                "source:Braak": ["Braak V", "Braak V", ""],
                "left over": 1,
            },
            index=["a", "b", "c"],
        )
    )


def test_columns_types_and_order(obs):
    assert obs.columns.tolist() == [*CODINGS, "source:Braak"]
    for name, coding in CODINGS.items():
        expected = "category" if coding.dtype == "str" else coding.dtype
        assert obs[name].dtype == ("object" if name == "cell_id" else expected), name
    assert obs["sex"].tolist() == ["unknown"] * 3
    assert obs["braak"].tolist() == [-1] * 3
    assert obs["is_reference"].tolist() == [False] * 3
    assert obs["pmi"].isna().all()


def test_doing_it_twice_changes_nothing(obs):
    pd.testing.assert_frame_equal(harmonise(obs), obs)


def test_columns_of_later_steps_are_not_made_up():
    early = harmonise(pd.DataFrame({"cell_id": ["a"], "donor_id": ["d"], "cell_type": ["t"]}))
    assert not {"total_counts", "n_genes", "split", "cohort"} & set(early.columns)
    with pytest.raises(ScswError, match="lacks total_counts, n_genes, split, cohort"):
        validate(early)


def test_a_whole_annotation_is_valid(obs):
    validate(obs)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("sex", "F", "column 'sex' holds 'F'.*'female', 'male', 'unknown'"),
        ("cell_class", "neuron", "'cell_class' holds 'neuron'"),
        ("split", "holdout", "'split' holds 'holdout'"),
        ("apoe_genotype", "43", "'apoe_genotype' holds '43'"),
        ("braak", 7, "'braak' holds '7'.*from -1 to 6"),
        ("thal", 6, "'thal' holds '6'"),
        ("cerad", 4, "'cerad' holds '4'"),
        ("adnc", 2.5, "'adnc' holds '2.5'.*whole numbers"),
        ("cognition", "MCI", "'cognition' holds 'MCI'"),
        ("cps", 1.2, "'cps' holds '1.2'"),
        ("pmi", -1, "'pmi' holds '-1.0'"),
        ("pct_mito", 101, "'pct_mito' holds '101.0'"),
        ("age_death", np.inf, "'age_death' holds 'inf'"),
        ("age_censored", "yes", "'age_censored' holds 'yes'.*true or false"),
        ("total_counts", -5, "'total_counts' holds '-5'"),
    ],
)
def test_values_outside_their_coding(obs, column, value, message):
    with pytest.raises(ScswError, match=message):
        harmonise(obs.assign(**{column: value}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"donor_id": ["d1", "", "d2"]}, "donor_id is empty for 1 cells"),
        ({"cell_type": ""}, "cell_type is empty for 3 cells"),
        ({"cell_id": ["a", "a", "c"]}, "cell_id 'a' occurs more than once"),
        ({"adnc": [3, 2, 0]}, "donor 'd1' has several values of adnc: 2, 3"),
        ({"is_reference": [True, False, False]}, "donor 'd1' has several values of is_reference"),
        ({"age_death": [80, 85, 70]}, "donor 'd1' has several values of age_death: 80.0, 85.0"),
        ({"pmi": [4, 5, 6]}, "several values of pmi.*or leave the field out: `columns: {pmi: ''}`"),
        ({"donor_id": ["H20.1", "H20.1", "h20-1"]}, "'H20.1' and 'h20-1' seem to be one person"),
        ({"donor_id": ["0071", "0071", "71.0"]}, "{donor_id: {'71.0': '0071'}}"),
    ],
)
def test_what_a_finished_annotation_must_not_hold(obs, change, message):
    with pytest.raises(ScswError, match=message):
        validate(harmonise(obs.assign(**change)))


def test_names_that_are_alike_and_a_value_that_some_cells_lack(obs):
    obs = harmonise(obs.assign(donor_id=["D1.1", "D11", "D1_10"], pmi=[np.nan, 4.0, 4.0]))
    validate(obs)
    validate(obs.assign(donor_id=obs["donor_id"].astype(str).replace("D11", "D1.1")))


def test_the_contract_lists_the_same_columns():
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "outputs.md").read_text(encoding="utf-8")
    line = next(row for row in page.splitlines() if row.startswith("| `obs` | index"))
    listed = line.split("; `")[1].split("`")[0].split(", ")
    assert listed == list(CODINGS)
