import numpy as np
import pandas as pd

from scsw.biology.external.diagnosis import donor_diagnosis, last_samples


def donors(**columns):
    table = pd.DataFrame(
        {"adnc": -1, "braak": -1, "cognition": -1, "is_reference": False} | columns
    )
    return table.set_index(np.array([f"D{i}" for i in range(len(table))]))


def test_adnc_decides_where_any_donor_has_it():
    found, rule = donor_diagnosis(donors(adnc=[0, 1, 2, 3, -1], braak=[6, 6, 0, 0, 6]))
    assert list(found) == [0, 0, 1, 1, -1] and "ADNC" in rule


def test_braak_then_cognition_stand_in():
    found, rule = donor_diagnosis(donors(braak=[0, 3, 4, 6, -1], cognition=[2, 2, 0, 0, 2]))
    assert list(found) == [0, 0, 1, 1, -1] and rule.startswith("AD: Braak IV to VI")
    found, rule = donor_diagnosis(donors(cognition=[0, 1, 2, -1]))
    assert list(found) == [0, -1, 1, -1] and rule.startswith("AD: dementia")


def test_reference_donors_take_no_part():
    found, _ = donor_diagnosis(donors(adnc=[0, 0, 3], is_reference=[True, False, False]))
    assert list(found) == [-1, 0, 1]
    found, rule = donor_diagnosis(donors(adnc=[0, -1], is_reference=[True, False]))
    assert list(found) == [-1, -1] and rule.startswith("no donor")


def test_the_last_sample_with_a_diagnosis_counts():
    samples = pd.DataFrame(
        [
            ("early", "A", 2010, 0), ("late", "A", 2012, 2), ("later", "A", 2013, -1),
            ("mci", "B", 2012, 1), ("was", "B", 2010, 0),
            ("one", "C", -1, 0), ("none", "D", 2011, -1),
        ],
        columns=["sample", "donor_id", "year", "diagnosis"],
    ).set_index("sample")  # fmt: skip
    assert last_samples(samples).to_dict() == {"late": 1, "one": 0}
