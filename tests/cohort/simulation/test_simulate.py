"""The simulated cohorts: true layouts, the planted effects, and nothing by chance."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.io import mmread
from scipy.stats import spearmanr

from scsw.cohort.preprocess import preprocess
from scsw.cohort.read import read_cohort
from scsw.cohort.simulation.cell_tree import sea_ad_types
from scsw.cohort.simulation.donors import adnc, donors
from scsw.cohort.simulation.expression import biology
from scsw.cohort.simulation.genes import genes
from scsw.cohort.simulation.markers import DAM, REACTIVE_ASTROCYTE, SYNAPTIC
from scsw.cohort.simulation.simulate import simulate
from scsw.errors import ScswError
from scsw.settings import section_settings

SMALL = {"donors": 10, "nuclei_per_donor": 12, "genes": 400, "cell_types": 4, "seed": 3}
CLINICAL = (
    "projid Study msex educ race spanish apoe_genotype age_at_visit_max age_first_ad_dx age_death "
    "cts_mmse30_first_ad_dx cts_mmse30_lv pmi braaksc ceradsc cogdx dcfdx_lv individualID"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("simulated")


@pytest.fixture(scope="module")
def sea_ad(folder):
    simulate(folder / "a.h5ad", source="sea_ad", **SMALL)
    return ad.read_h5ad(folder / "a.h5ad")


@pytest.fixture(scope="module")
def rosmap(folder):
    simulate(folder / "b", source="rosmap", **SMALL)
    return folder / "b"


def test_sea_ad_has_the_public_layout(sea_ad):
    counts = sea_ad.layers["UMIs"].toarray()
    assert np.array_equal(counts, np.round(counts)) and counts.min() == 0
    depth = counts.sum(1, keepdims=True)
    expected = np.log1p(counts / np.maximum(depth, 1) * 1e4)
    assert np.allclose(sea_ad.X.toarray(), expected, atol=1e-4)
    assert sea_ad.uns["X_normalization"] == "ln(UP10K+1)"
    assert "simulated" in str(sea_ad.uns["title"]).lower()
    assert list(sea_ad.var.columns) == ["gene_ids"]
    assert sea_ad.var["gene_ids"].str.match(r"ENSG\d{11}$").all()
    columns = (
        "Donor ID|Neurotypical reference|Sex|Age at Death|PMI|Braak|Thal|CERAD score|"
        "Overall AD neuropathological Change|Cognitive Status|APOE Genotype|Class|Subclass|"
        "Supertype|Continuous Pseudo-progression Score|method|library_prep"
    )
    assert set(columns.split("|")) <= set(sea_ad.obs.columns)
    reference = sea_ad.obs["Neurotypical reference"].astype(str) == "True"
    assert set(sea_ad.obs.loc[reference, "Braak"].astype(str)) <= {"Reference"}
    assert sea_ad.obs.loc[reference, "Continuous Pseudo-progression Score"].isna().all()
    assert not sea_ad.obs["Braak"].astype(str).eq("Braak I").any()
    assert sea_ad.obs["Donor ID"].nunique() == 10


def test_rosmap_has_the_public_layout(rosmap):
    matrix = mmread(rosmap / "filtered_count_matrix.mtx")
    genes = (rosmap / "filtered_gene_row_names.txt").read_text().split()
    cells = pd.read_csv(rosmap / "filtered_column_metadata.txt", sep="\t")
    assert matrix.shape == (len(genes), len(cells))
    columns = "TAG projid tsne1 tsne2 pre.cluster broad.cell.type Subcluster"
    assert list(cells.columns) == columns.split()
    assert set(cells["broad.cell.type"]) <= set("Ex In Ast Oli Opc Mic End Per".split())
    clinical = pd.read_csv(rosmap / "ROSMAP_clinical.csv", dtype=str)
    assert list(clinical.columns) == CLINICAL.split()
    assert set(clinical["ceradsc"].dropna()) <= set("1234")
    assert "simulated" in (rosmap / "README.txt").read_text()


def test_the_same_arguments_give_the_same_counts(sea_ad, folder):
    simulate(folder / "again.h5ad", source="sea_ad", **SMALL)
    again = ad.read_h5ad(folder / "again.h5ad")
    assert (again.layers["UMIs"] != sea_ad.layers["UMIs"]).nnz == 0
    pd.testing.assert_frame_equal(again.obs, sea_ad.obs)
    simulate(folder / "other.h5ad", source="sea_ad", **{**SMALL, "seed": 4})
    other = ad.read_h5ad(folder / "other.h5ad")
    assert (other.layers["UMIs"] != sea_ad.layers["UMIs"]).nnz > 0
    assert list(other.var_names) == list(sea_ad.var_names)


def test_both_cohorts_go_through_preprocessing(sea_ad, rosmap, folder):
    settings = section_settings(
        "preprocess",
        {"min_genes": 10, "min_counts": 10, "min_cells_per_type": 3, "vocabulary": "cohort"},
    )
    for source, path in (("sea_ad", folder / "a.h5ad"), ("rosmap", rosmap)):
        out = folder / f"out_{source}"
        preprocess(path, out, cohort=source, source=source, settings=settings, simulated=True)
        cells = read_cohort(out / "cohort.h5ad")
        assert cells.obs["cell_type"].nunique() == 4
        assert cells.uns["scsw"]["simulated"]
        assert (cells.obs["braak"] >= 0).sum() > 0


@pytest.mark.parametrize(
    ("signature", "subclass", "sign"),
    [
        (DAM, "Microglia-PVM", 1),
        (SYNAPTIC, "L2/3 IT", -1),
        (REACTIVE_ASTROCYTE, "Astrocyte", 1),
    ],
)
def test_stage_effects_are_in_the_named_types(staged, signature, subclass, sign):
    cps, mean = staged
    own = spearmanr(cps, mean(signature, subclass)).statistic
    other = spearmanr(cps, mean(signature, "Oligodendrocyte")).statistic
    assert sign * own > 0.5
    assert abs(other) < 0.5


@pytest.fixture(scope="module")
def staged(folder):
    """Return each staged donor's CPS and a function giving its mean signature expression."""
    simulate(
        folder / "staged.h5ad",
        source="sea_ad",
        donors=40,
        nuclei_per_donor=80,
        genes=600,
        cell_types=12,
        seed=5,
    )
    cells = ad.read_h5ad(folder / "staged.h5ad")
    cells = cells[cells.obs["Continuous Pseudo-progression Score"].notna()].copy()
    score = cells.obs.groupby("Donor ID", observed=True)[
        "Continuous Pseudo-progression Score"
    ].first()

    def mean(signature, subclass):
        own = cells[cells.obs["Subclass"] == subclass]
        present = [gene for gene in signature if gene in cells.var_names]
        counts = np.asarray(own[:, present].layers["UMIs"].sum(1)).ravel()
        depth = np.asarray(own.layers["UMIs"].sum(1)).ravel()
        sums = (
            pd.DataFrame({"own": counts, "all": depth})
            .groupby(own.obs["Donor ID"].astype(str).to_numpy())
            .sum()
        )
        return (sums["own"] / sums["all"]).reindex(score.index.astype(str)).fillna(0)

    return score, mean


@pytest.mark.parametrize(
    "change",
    [{"donors": 1}, {"genes": 10}, {"cell_types": 99}, {"source": "adni"}, {"nuclei_per_donor": 0}],
)
def test_arguments_out_of_range_are_refused(tmp_path, change):
    with pytest.raises(ScswError):
        simulate(tmp_path / "x", **{"source": "sea_ad", **SMALL, **change})
    assert list(tmp_path.iterdir()) == []


def test_a_real_file_is_never_replaced(tmp_path):
    ad.AnnData(np.ones((2, 2))).write_h5ad(tmp_path / "real.h5ad")
    before = (tmp_path / "real.h5ad").read_bytes()
    with pytest.raises(ScswError, match="no simulated"):
        simulate(tmp_path / "real.h5ad", source="sea_ad", **SMALL)
    assert (tmp_path / "real.h5ad").read_bytes() == before


@pytest.mark.parametrize(
    ("thal", "braak", "cerad", "level"),
    [
        # Rows of the NIA-AA table (Montine et al. 2012): A0, A1, A2, A3.
        (0, 6, 3, 0),
        (1, 4, 1, 1), (2, 2, 3, 1), (2, 3, 2, 2), (1, 6, 3, 2),
        (3, 2, 3, 1), (3, 3, 0, 2), (3, 6, 3, 2),
        (4, 1, 2, 1), (5, 6, 1, 2), (5, 4, 3, 2), (4, 5, 2, 3),
    ],
)  # fmt: skip
def test_adnc_follows_the_published_table(thal, braak, cerad, level):
    assert adnc(thal, braak, cerad) == level


def test_severity_drives_every_stage():
    people = donors(60, 4, range(7), np.random.default_rng(0))
    staged = people[~people["is_reference"]]
    assert people["is_reference"].sum() == 4
    for stage in ("braak", "thal", "cerad", "adnc", "cogdx", "cps"):
        assert spearmanr(staged["severity"], staged[stage]).statistic > 0.6


def test_a_smaller_set_of_genes_starts_a_larger_one_and_keeps_its_biology():
    small, large = genes(300)["symbol"].tolist(), genes(500)["symbol"].tolist()
    assert large[:300] == small
    types = sea_ad_types(3)
    assert np.array_equal(biology(large, types).log_mean[:, :300], biology(small, types).log_mean)


def test_rosmap_codings_and_traps_are_there(rosmap):
    cells = pd.read_csv(rosmap / "filtered_column_metadata.txt", sep="\t")
    clinical = pd.read_csv(rosmap / "ROSMAP_clinical.csv", dtype=str, keep_default_na=False)
    assert cells["projid"].dtype.kind == "i" and cells["projid"].min() < 10_000_000
    assert clinical["projid"].str.fullmatch(r"\d{8}").all()
    assert set(cells["projid"]) < set(clinical["projid"].astype(int))
    ages = clinical["age_death"]
    assert ages.eq("90+").any() and ages[ages != "90+"].astype(float).max() < 90
    assert clinical["pmi"].eq("").any() and clinical["apoe_genotype"].eq("NA").any()
    assert cells.groupby("Subcluster")["broad.cell.type"].nunique().eq(1).all()


def test_low_quality_nuclei_are_planted(staged, folder):
    cells = ad.read_h5ad(folder / "staged.h5ad").obs
    assert 0.005 < (cells["Fraction mitochondrial UMIs"] > 0.05).mean() < 0.06
    assert 0.005 < (cells["Doublet score"] > 0.3).mean() < 0.06
