import pandas as pd
import pytest

from scsw.cohort.cell_types import (
    SEA_AD_ALIASES,
    SEA_AD_BROAD,
    SEA_AD_CLASSES,
    SILETTI_2023_CLASSES,
    class_of_name,
    classes,
)
from scsw.cohort.harmonise import CELL_CLASSES


def test_sea_ad_has_24_subclasses_and_seven_of_2026_and_aliases_name_them():
    assert len(SEA_AD_CLASSES) == 24 + 7
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
        # Supertypes of SEA-AD, whose numbers follow an underscore.
        ("OPC_2_1-SEAAD", "glia"),
        ("Micro-PVM_3-SEAAD", "immune"),
        ("Lymphocyte", "immune"),
        ("Endo_2", "vascular"),
        ("VLMC_1", "vascular"),
        ("SMC-SEAAD", "vascular"),
        ("Sst_22", "inhibitory"),
        ("L5 ET_1", "excitatory"),
        ("Immune cells", "immune"),
        # Short names of ROSMAP and others, in files that somebody put together.
        ("Ex", "excitatory"),
        ("In", "inhibitory"),
        ("Ast", "glia"),
        ("Vas", "vascular"),
        ("ODC", "glia"),
        ("DG", "excitatory"),
        ("In0", "inhibitory"),
        ("Mic.12", "immune"),
        ("PER.END1", "vascular"),
        ("OPCs", "glia"),
        ("Mic/Immune", "immune"),
        ("Vasc/Epithelia", "vascular"),
        ("CA1", "other"),
        # Mathys 2024, PsychAD, Otero-Garcia 2022, Green 2024, Lau 2020, Zhou 2020.
        ("Ast GRM3", "glia"),
        ("CAMs", "immune"),
        ("EN_L2_3_IT", "excitatory"),
        ("IN_ADARB2", "inhibitory"),
        ("EN", "other"),  # endothelial elsewhere
        ("Ex04_RORB-GABRG1 (L4-L5)", "excitatory"),
        ("Peri.1", "vascular"),
        ("COPs", "glia"),
        ("Inhib", "inhibitory"),
        ("Excit", "excitatory"),
        ("Ex neurons", "excitatory"),
        ("InN", "inhibitory"),
        ("Exhausted T cell", "immune"),
        ("Exocrine", "other"),
        ("Intestinal epithelium", "other"),
    ],
)
def test_class_of_a_name(name, expected):
    assert class_of_name(name) == expected


def test_known_names_agree_with_the_general_rule():
    """A letter's case decides whether the exact name or the rule is asked."""
    for name, expected in SEA_AD_CLASSES.items():
        assert class_of_name(name) == expected, name
        assert class_of_name(name.upper() + " ") in (expected, "other"), name


def test_superclusters_of_siletti():
    expected = {
        "Upper-layer intratelencephalic": "excitatory",
        "Deep-layer intratelencephalic": "excitatory",
        "Deep-layer near-projecting": "excitatory",
        "Deep-layer corticothalamic and 6b": "excitatory",
        "Hippocampal CA1-3": "excitatory",
        "Hippocampal CA4": "excitatory",
        "Hippocampal dentate gyrus": "excitatory",
        "Amygdala excitatory": "excitatory",
        "Thalamic excitatory": "excitatory",
        "MGE interneuron": "inhibitory",
        "CGE interneuron": "inhibitory",
        "LAMP5-LHX6 and Chandelier": "inhibitory",
        "Medium spiny neuron": "inhibitory",
        "Midbrain-derived inhibitory": "inhibitory",
        "Cerebellar inhibitory": "inhibitory",
        "Astrocyte": "glia",
        "Oligodendrocyte": "glia",
        "Oligodendrocyte precursor": "glia",
        "Committed oligodendrocyte precursor": "glia",
        "Bergmann glia": "glia",
        "Ependymal": "glia",
        "Microglia": "immune",
        "Vascular": "vascular",
        "Fibroblast": "vascular",
        "Splatter": "other",
        "Miscellaneous": "other",
        "Choroid plexus": "other",
    }
    names = pd.Series(list(expected))
    assert dict(zip(names, classes(names, SILETTI_2023_CLASSES), strict=True)) == expected


def test_further_columns_are_asked_where_the_name_tells_nothing():
    names = pd.Series(["cluster 3", "D1 MSN", "Sst"])
    broad = pd.Series(["Neuronal: Glutamatergic", "Neuronal: GABAergic", "unclear"])
    assert classes(names, SEA_AD_CLASSES, (broad, SEA_AD_BROAD)).tolist() == [
        "excitatory",
        "inhibitory",
        "inhibitory",
    ]
