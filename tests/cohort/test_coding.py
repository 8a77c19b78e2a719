import numpy as np
import pandas as pd
import pytest

from scsw.cohort import coding
from scsw.errors import ScswError


@pytest.mark.parametrize(
    ("decode", "value", "expected"),
    [
        (coding.braak, "Braak V", 5),
        (coding.braak, "VI", 6),
        (coding.braak, "Braak 0", 0),
        (coding.braak, "3.0", 3),
        (coding.braak, "Stage IV", 4),
        (coding.thal, "Thal 4", 4),
        (coding.thal, "2", 2),
        (coding.apoe_genotype, "3/4", "34"),
        (coding.apoe_genotype, "34", "34"),
        (coding.apoe_genotype, "34.0", "34"),
        (coding.apoe_genotype, "E3/E4", "34"),
        (coding.apoe_genotype, "e4/e3", "34"),
        (coding.apoe_genotype, "ε2/ε3", "23"),
        (coding.age_years, "90+", 90.0),
        (coding.age_years, "84.25", 84.25),
        (coding.age_is_censored, "90+", True),
        (coding.age_is_censored, "90", False),
        (coding.age_years, ">89", 89.0),
        (coding.age_years, "≥ 90", 90.0),
        (coding.age_is_censored, ">89", True),
        (coding.age_is_censored, "90 +", True),
        (coding.integer(0, 3), "2.0", 2),
        (coding.choice({"Dementia": 2, "No dementia": 0}), "no dementia", 0),
        (coding.choice({"1": 3, "2": 2}), "2.0", 2),
    ],
)
def test_decoders_read(decode, value, expected):
    assert decode(value) == expected


@pytest.mark.parametrize(
    ("decode", "value"),
    [
        (coding.braak, "Braak VII"),
        (coding.braak, "7"),
        (coding.thal, "Thal 6"),
        (coding.apoe_genotype, "1/4"),
        (coding.apoe_genotype, "4"),
        (coding.apoe_genotype, "34/34"),
        (coding.age_years, "old"),
        (coding.age_years, "-4"),
        (coding.age_years, "<50"),
        (coding.integer(0, 3), "2.5"),
        (coding.number(0, 1), "1.2"),
        (coding.choice({"Dementia": 2}), "Dement"),
        (coding.choice({"1": 3, "2": 2}), "2.5"),
    ],
)
def test_decoders_refuse(decode, value):
    with pytest.raises(ValueError):
        decode(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (np.nan, ""),
        (pd.NA, ""),
        (34.0, "34"),
        (1.5, "1.5"),
        (b" x ", "x"),
        (True, "True"),
    ],
)
def test_as_text(value, expected):
    assert coding.as_text(value) == expected


def test_decoded_names_column_values_and_field():
    values = pd.Series(["1", "9", "", "NA", "8"], name="ceradsc")
    with pytest.raises(ScswError, match=r"'ceradsc' holds '8', '9'.*cerad") as caught:
        coding.decoded(
            values, coding.choice({"1": 3}), missing=-1, field="cerad", expected="1 to 4"
        )
    assert "columns: cerad:" in str(caught.value)


def test_decoded_keeps_order_and_missing_values():
    # "not applicable" and the like are what INSDC and GEO ask for where nothing is known.
    texts = ["4", "Not applicable", "1", None, "Reference", "4"]
    values = pd.Series(texts, index=list("abcdef"), name="x")
    result = coding.decoded(
        values,
        coding.integer(0, 4),
        missing=-1,
        field="x",
        expected="",
        also_missing=("reference",),
    )
    assert result.tolist() == [4, -1, 1, -1, -1, 4]
    assert result.index.tolist() == list("abcdef")


def test_categories_and_plain_texts_decode_alike():
    plain = pd.Series(["Low", "High", None, "Low"], name="adnc")
    decode = coding.choice({"Low": 1, "High": 3})
    results = [
        coding.decoded(column, decode, missing=-1, field="adnc", expected="").tolist()
        for column in (plain, plain.astype("category"))
    ]
    assert results[0] == results[1] == [1, 3, -1, 1]


@pytest.mark.parametrize(
    ("given", "missing", "expected"),
    [
        (34, "", "34"),  # YAML reads apoe_genotype: {e3e4: 34} as a number
        ("6", -1, 6),
        (None, -1, -1),
        (True, False, True),
    ],
)
def test_a_user_s_value_takes_its_field_s_type(given, missing, expected):
    values = pd.Series(["own", ""], name="x")
    result = coding.decoded(
        values, coding.braak, missing=missing, field="f", expected="", known={"own": given}
    )
    assert result.tolist() == [expected, missing]


def test_a_user_s_value_of_another_kind_is_refused():
    with pytest.raises(ScswError, match=r"`values: braak` gives 'late'.*a number"):
        coding.decoded(
            pd.Series(["own"], name="x"),
            coding.braak,
            missing=-1,
            field="braak",
            expected="",
            known={"own": "late"},
        )
