"""The project's own gene sets: as their recipes, their documentation and the gene table say."""

import hashlib
import importlib.util
import re
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scsw.biology.biomarkers.biomarkers import NAMED_GENES
from scsw.biology.enrich.enrich import enrich
from scsw.biology.gene_sets import find_gmt, read_gmt
from scsw.settings import section_settings

pytestmark = pytest.mark.usefixtures("no_network")
RESOURCES = Path(__file__).parents[2] / "resources"
PATH = RESOURCES / "gene_sets" / "ad_axes.gmt"
AXES = read_gmt(PATH)
RECIPES = dict(line.split("\t")[:2] for line in PATH.read_text().splitlines())


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_ad_axes", RESOURCES / "make_ad_axes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def readme():
    return (RESOURCES / "README.md").read_text()


def rows(text, first):
    """Return the cells of the Markdown table rows whose first cell matches `first`, no ticks."""
    lines = (line for line in text.splitlines() if re.match(rf"\| `?{first}", line))
    return [[cell.strip(" `") for cell in line.strip("|").split(" | ")] for line in lines]


def test_sets_are_of_testable_size_and_list_each_gene_once():
    assert len(AXES) == 16
    for line in PATH.read_text().splitlines():
        name, _, *genes = line.split("\t")
        assert name.startswith("AD_") and 5 <= len(genes) <= 200
        assert genes == sorted(set(genes))


def test_all_symbols_are_todays_coding_genes(script):
    today = script.todays_symbols()
    genes = {gene for axis in AXES.values() for gene in axis}
    assert {gene for gene in genes if today.get(gene) != gene} == set()  # 1,047 of 1,047
    assert len(genes) == 1047
    assert today["GBA"] == "GBA1" and "MIR107" not in today


@pytest.mark.parametrize(
    ("gene", "axis"),
    {
        "APP": "AD_AMYLOID_PROCESSING",
        "PSEN1": "AD_AMYLOID_PROCESSING",
        "PSEN2": "AD_AMYLOID_PROCESSING",
        "MAPT": "AD_TAU_KINASES_PHOSPHATASES",
        "TREM2": "AD_TREM2_TYROBP_APOE",
        "APOE": "AD_TREM2_TYROBP_APOE",
        "IL1B": "AD_NEUROINFLAMMATION",
        "FOXO3": "AD_AMPK_FOXO3",
    }.items(),
)
def test_each_named_gene_is_in_its_axis(gene, axis):
    assert gene in NAMED_GENES and gene in AXES[axis]


def test_axes_hold_what_they_are_named_after():
    expected = {
        "AD_AMYLOID_PROCESSING": "BACE1 ADAM10 NCSTN APH1A PSENEN SORL1 IDE MME",
        "AD_TAU_KINASES_PHOSPHATASES": "GSK3B CDK5 CDK5R1 MARK1 MARK2 MARK4 PPP2CA",
        "AD_TREM2_TYROBP_APOE": "TYROBP SYK",
        "AD_MICROGLIA_DAM": "CST7 CLEC7A ITGAX LPL",
        "AD_MICROGLIA_HOMEOSTATIC": "P2RY12 CX3CR1 TMEM119",
        "AD_NEUROINFLAMMATION": "NLRP3 CASP1 TNF IL6",
        "AD_AMPK_FOXO3": "PRKAA1 PRKAA2 STK11 FOXO1",
        "AD_OXPHOS": "NDUFS1 SDHA UQCRC1 COX5A ATP5F1A MT-ND1",
        "AD_OXIDATIVE_STRESS": "SOD1 SOD2 CAT NFE2L2 HMOX1",
        "AD_GLUTAMATERGIC_SYNAPSE": "GRIN1 GRIA2 GRM5 SLC17A7",
        "AD_CHOLINERGIC_SYNAPSE": "CHAT ACHE SLC18A3 CHRM1 CHRNA7",
        "AD_ASTROCYTE_REACTIVE": "GFAP VIM SERPINA3 CHI3L1",
        "AD_ASTROCYTE_METABOLIC": "SLC1A2 SLC1A3 GLUL LDHA SLC16A1 PYGB",
        "AD_LIPID_CHOLESTEROL": "HMGCR LDLR ABCA1 APOE",
        "AD_AUTOPHAGY_LYSOSOME": "ULK1 BECN1 MAP1LC3B TFEB GRN",
        "AD_GWAS_2022": "BIN1 CLU PICALM CR1 ABCA7 TREM2 SPI1 INPP5D",
    }
    missing = {name: set(genes.split()) - set(AXES[name]) for name, genes in expected.items()}
    assert missing == {name: set() for name in AXES}
    shared = set(AXES["AD_GLUTAMATERGIC_SYNAPSE"]) & set(AXES["AD_CHOLINERGIC_SYNAPSE"])
    assert shared == set()  # the vesicle machinery is in neither


def test_recipes_without_gene_ontology_give_the_same_genes_again(script):
    sets, today = script.published_sets(), script.todays_symbols()
    assert RECIPES == script.AXES
    again = [name for name, recipe in RECIPES.items() if "GO:" not in recipe]
    assert len(again) == 9
    for name in again:
        named = script.cook(RECIPES[name], lambda part: sets.get(part, {part}))
        assert sorted({today[gene] for gene in named & today.keys()}) == AXES[name], name


def test_a_recipe_is_read_from_left_to_right(script):
    sets = {"A": {"1", "2"}, "B": {"2", "3"}, "C": {"3"}}
    assert script.cook("A + B - C", sets.get) == {"1", "2"}
    assert script.cook("A - C + B & C", sets.get) == {"3"}


def test_another_gene_ontology_is_refused(script, tmp_path):
    other = tmp_path / "org.Hs.eg.sqlite"
    other.write_bytes(b"another release")
    with pytest.raises(SystemExit, match=r"has the sha256 .* expected"):
        script.gene_ontology(other)


def test_every_set_tells_its_source(script, readme):
    sum_row = next(line for line in readme.splitlines() if "gene_sets/ad_axes.gmt" in line)
    assert hashlib.sha256(PATH.read_bytes()).hexdigest() in sum_row and "CC BY 4.0" in sum_row
    told = {
        name
        for row in rows(readme, "(?!AD_)[A-Z_]+_20")
        for name in row[0].replace("`", "").split(", ")
    }
    assert told == set(script.LISTS)
    known = script.published_sets().keys() | script.todays_symbols().keys()
    parts = {part for recipe in RECIPES.values() for part in recipe.split() if part not in "+&-"}
    assert {part for part in parts - known if not re.fullmatch(r"GO:\d{7}", part)} == set()


def test_sizes_and_overlaps_are_as_documented(readme):
    sizes, pairs = [], []
    for row in rows(readme, "AD_"):
        (pairs if row[1].strip("`") in AXES else sizes).append([cell.strip("`") for cell in row])
    others = {name: set().union(*(AXES[other] for other in AXES if other != name)) for name in AXES}
    assert sizes == [
        [name, str(len(genes)), str(len(others[name].intersection(genes))), RECIPES[name]]
        for name, genes in AXES.items()
    ]
    both = {(a, b): sorted({*AXES[a]} & {*AXES[b]}) for a, b in combinations(AXES, 2)}
    large = {pair: genes for pair, genes in both.items() if len(genes) >= 5}
    assert {(a, b): shared for a, b, shared in pairs} == {
        pair: f"{len(genes)}: {', '.join(genes)}" for pair, genes in large.items()
    }
    disjoint = sum(not genes for genes in both.values())
    assert f"{disjoint} of {len(both)} none" in readme


def test_the_guide_gives_the_same_sizes():
    guide = (RESOURCES.parent / "docs" / "biology.md").read_text()
    told = {row[0]: int(row[1]) for row in rows(guide, "AD_")}
    assert told == {name: len(genes) for name, genes in AXES.items()}


@pytest.fixture
def axes_only():
    library = "resources/gene_sets/ad_axes.gmt"
    own = {"gene_sets": [library], "prerank_gene_sets": [library], "permutations": 1000}
    own |= {"prerank_large_candidates": 0}
    return section_settings("enrich", own)


def test_the_axes_are_among_the_default_libraries():
    defaults = section_settings("enrich", {})
    for paths in (defaults.gene_sets, defaults.prerank_gene_sets):
        assert PATH.samefile(find_gmt(paths[0]))


def test_a_planted_axis_is_found_fast(tmp_path, axes_only, make_scores, make_verdicts, write):
    rng = np.random.default_rng(0)
    table = pd.read_csv(RESOURCES / "genes.csv.gz", header=None, dtype=str, keep_default_na=False)
    coding = table.loc[table[4] == "protein_coding", 1].unique()
    own = sorted({gene for axis in AXES.values() for gene in axis})
    genes = [*own, *rng.choice(np.setdiff1d(coding, own), 2000, replace=False)]
    z = rng.normal(size=len(genes)) + 3 * np.isin(genes, AXES["AD_OXPHOS"])
    paths = write(
        scores=make_scores({"c": {"read_in": z}}, genes),
        verdicts=make_verdicts({"c": "not causal"}),
    )
    start = time.perf_counter()
    enrich(*paths, tmp_path / "out", settings=axes_only, simulated=True)
    assert time.perf_counter() - start < 10  # 0.5 s when it was written
    found = pd.read_parquet(tmp_path / "out" / "pathways.parquet")
    assert set(found["library"]) == {"ad_axes"}
    for _, tested in found.groupby("method"):
        assert len(tested) == 16  # every axis is tested, also without any overlap
        best = tested.sort_values("p").iloc[0]
        assert best["gene_set"] == "AD_OXPHOS" and best["q"] < 0.05
        assert tested["q"].lt(0.05).sum() == 1
        assert tested["primary"].all()
    overlaps = pd.read_parquet(tmp_path / "out" / "set_overlaps.parquet")
    assert len(overlaps) == 16 * 15 / 2
    both = overlaps.set_index(["set_a", "set_b"])
    pair = both.loc[("AD_AMYLOID_PROCESSING", "AD_GWAS_2022")]
    assert (pair["n_a"], pair["n_b"], pair["n_shared"]) == (73, 89, 12)
    assert pair["jaccard"] == pytest.approx(12 / (73 + 89 - 12))
