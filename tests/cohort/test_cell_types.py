import pandas as pd
import pytest

from scsw.cohort.cell_types import (
    SEA_AD_ALIASES,
    SEA_AD_BROAD,
    SEA_AD_CLASSES,
    class_of_name,
    classes,
)
from scsw.cohort.harmonise import CELL_CLASSES


def test_sea_ad_has_24_subclasses_and_aliases_name_them():
    assert len(SEA_AD_CLASSES) == 24
    assert set(SEA_AD_ALIASES.values()) <= set(SEA_AD_CLASSES)
    assert set(SEA_AD_CLASSES.values()) <= set(CELL_CLASSES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("L2/3-6 intratelencephalic projecting glutamatergic neuron", "excitatory"),
        ("sst GABAergic cortical interneuron", "inhibitory"),
        ("vascular leptomeningeal cell", "vascular"),
        ("endothelial cell", "vascular"),
        ("oligodendrocyte precursor cell", "glia"),
        ("astrocyte of the cerebral cortex", "glia"),
        ("microglial cell", "immune"),
        ("CD8-positive, alpha-beta T cell", "immune"),
        ("macrophage", "immune"),
        ("gastric epithelial cell", "other"),
        ("fibroblast", "other"),
        ("neuron", "other"),
        ("CL:0000128", "glia"),
        ("Exc", "excitatory"),
        ("Inh", "inhibitory"),
    ],
)
def test_class_of_a_name(name, expected):
    assert class_of_name(name) == expected


def test_known_names_agree_with_the_general_rule():
    for name, expected in SEA_AD_CLASSES.items():
        assert class_of_name(name) in (expected, "other"), name


def test_further_columns_are_asked_where_the_name_tells_nothing():
    names = pd.Series(["cluster 3", "D1 MSN", "Sst"])
    broad = pd.Series(["Neuronal: Glutamatergic", "Neuronal: GABAergic", "unclear"])
    assert classes(names, SEA_AD_CLASSES, (broad, SEA_AD_BROAD)).tolist() == [
        "excitatory",
        "inhibitory",
        "inhibitory",
    ]
