"""CELLxGENE's schema 7: submissions, the portal's files, re-releases of SEA-AD."""

import anndata as ad
import numpy as np
import pytest

from scsw.cohort.counts import whole_counts
from scsw.cohort.readers import cellxgene
from scsw.cohort.request import Request
from scsw.cohort.sources import choose
from scsw.errors import ScswError
from tests.cohort import layouts


def read(path, **asked):
    return cellxgene.read(Request(path, **asked))


def donors_of(found):
    return found.obs.astype({"donor_id": str}).drop_duplicates("donor_id").set_index("donor_id")


def test_submission(tmp_path):
    path = layouts.write_cellxgene(tmp_path / "c.h5ad")
    found = read(path)
    counts = layouts.read_counts(found.counts, tmp_path)
    assert (counts != ad.read_h5ad(path).raw.X).nnz == 0
    # No feature_name: symbols come from the gene table, and that is remembered.
    assert found.genes["symbol"].tolist() == list(layouts.GENES)
    assert found.genes["from_table"].all()
    assert set(found.obs["cell_type"]) == set(layouts.AUTHOR_TYPES)
    assert set(found.obs["cell_class"]) == {"glia", "immune", "inhibitory"}
    assert donors_of(found)["sex"].tolist() == ["female", "male"] * 3
    assert set(found.obs["region"]) == {"UBERON:0002771"}
    assert found.obs["age_death"].isna().all()
    assert set(found.obs["adnc"]) == {-1}


@pytest.mark.parametrize("form", ["submission", "portal"])
def test_it_is_told_from_its_columns(tmp_path, form):
    name, how = choose("auto", layouts.write_cellxgene(tmp_path / "c.h5ad", form))
    assert name == "cellxgene" and "'donor_id'" in how


def test_raw_may_have_more_genes_than_x(tmp_path):
    def fewer(a):
        raw = a.raw
        a._inplace_subset_var(a.var_names[3:])
        assert raw.n_vars == a.n_vars + 3

    path = layouts.write_cellxgene(tmp_path / "c.h5ad", form="portal", edit=fewer)
    found = read(path)
    assert found.genes["ensembl_id"].tolist() == list(layouts.GENES.values())
    # The portal names genes in var; those of raw alone take the gene table's symbol.
    assert found.genes["symbol"].tolist() == list(layouts.GENES)
    counts = layouts.read_counts(found.counts, tmp_path)
    assert (counts != ad.read_h5ad(path).raw.X).nnz == 0


def test_portal(tmp_path):
    found = read(layouts.write_cellxgene(tmp_path / "c.h5ad", form="portal"))
    assert not found.genes["from_table"].any()
    assert set(found.obs["cell_type"]) == set(layouts.AUTHOR_TYPES)
    donors = donors_of(found)
    assert donors["sex"].tolist() == ["female", "male"] * 3
    assert donors["age_death"].tolist() == [64, 80] * 3
    assert donors["age_censored"].tolist() == [False, True] * 3
    assert set(found.obs["region"]) == {"middle temporal gyrus"}
    assert set(found.obs["source:disease"]) == {"normal"}


def test_two_ages_of_a_donor(tmp_path):
    def older(a):
        a.obs["development_stage"] = np.resize(["64-year-old stage", "adult stage"], a.n_obs)
        a.obs.iloc[0, a.obs.columns.get_loc("development_stage")] = "66-year-old stage"

    path = layouts.write_cellxgene(tmp_path / "a.h5ad", "portal", edit=older)
    with pytest.raises(ScswError, match=r"'D0' has several values of age_death: 64.0, 66.0"):
        read(path)
    assert read(path, columns={"age_death": ""}).obs["age_death"].isna().all()


def test_with_counts_in_x_and_ids_with_versions(tmp_path):
    def only_x(a):
        raw = a.raw.X.astype(float)
        a.X = raw - raw.sign() * 1e-11  # as some published files are
        a.raw = None
        a.var_names = [f"{name}.7" for name in a.var_names]

    found = read(layouts.write_cellxgene(tmp_path / "c.h5ad", edit=only_x))
    expected = layouts.counts(layouts.cells(6, 12, layouts.AUTHOR_TYPES)[1], seed=1)
    counts = layouts.read_counts(found.counts, tmp_path)
    assert (counts != expected).nnz > 0  # as the file gives them
    assert (whole_counts(counts, "X", "") != expected).nnz == 0
    assert found.genes["ensembl_id"].tolist() == list(layouts.GENES.values())


def test_ontology_ids_alone_give_a_class(tmp_path):
    def no_names(a):
        a.obs.drop(columns="author_cell_type", inplace=True)

    obs = read(layouts.write_cellxgene(tmp_path / "c.h5ad", edit=no_names)).obs
    assert set(zip(obs["cell_type"], obs["cell_class"], strict=True)) == {
        ("CL:0000127", "glia"),
        ("CL:0000129", "immune"),
        ("CL:0000617", "inhibitory"),
    }


def test_rerelease_of_sea_ad_keeps_its_stages(tmp_path):
    def staged(a):
        for name, value in {
            "ADNC": "High",
            "Braak stage": "Braak V",
            "Thal phase": "Thal 4",
            "CERAD score": "Frequent",
            "Cognitive status": "No dementia",
            "Neurotypical reference": "False",
            "Age at death": "78 to 89 years old",  # a class: no age can be read from it
        }.items():
            a.obs[name] = value

    obs = read(layouts.write_cellxgene(tmp_path / "c.h5ad", edit=staged)).obs
    first = obs.iloc[0]
    assert [first[n] for n in ("adnc", "braak", "thal", "cerad", "cognition")] == [3, 5, 4, 3, 0]
    assert np.isnan(first["age_death"])


def test_authors_types_stand_where_the_ontology_is_coarser(tmp_path):
    """It calls L2/3 IT and L5 IT of SEA-AD by one name, and all neurons of Siletti 2023."""

    def sea_ad_again(a):
        a.obs["Subclass"] = np.array(["L2/3 IT", "L5 IT", "Micro-PVM"])[np.arange(a.n_obs) % 3]

    def siletti(a):
        names = ["Upper-layer intratelencephalic", "Hippocampal CA4", "MGE interneuron"]
        a.obs["supercluster_term"] = np.array(names)[np.arange(a.n_obs) % 3]
        a.obs["cell_type"] = "neuron"

    def told(edit):
        obs = read(layouts.write_cellxgene(tmp_path / "c.h5ad", "portal", edit=edit)).obs
        assert set(obs["source:cell_type"]) <= {"neuron", *layouts.AUTHOR_TYPES}
        return set(zip(obs["cell_type"], obs["cell_class"], strict=True))

    assert told(sea_ad_again) == {
        ("L2/3 IT", "excitatory"),
        ("L5 IT", "excitatory"),
        ("Microglia-PVM", "immune"),
    }
    assert told(siletti) == {
        ("Upper-layer intratelencephalic", "excitatory"),
        ("Hippocampal CA4", "excitatory"),
        ("MGE interneuron", "inhibitory"),
    }


def test_a_slice_of_the_census(tmp_path):
    """Its genes are numbered, with both names in columns of var, and its counts stand in X."""

    def slice_(a, prefix="ENSG"):
        a.X, a.raw = a.raw.X.copy(), None
        a.var["feature_id"] = [prefix + name.removeprefix("ENSG") for name in a.var_names]
        a.var_names = [str(number) for number in range(a.n_vars)]

    path = layouts.write_cellxgene(tmp_path / "c.h5ad", "portal", edit=slice_)
    assert choose("auto", path)[0] == "cellxgene"
    found = read(path)
    assert found.genes["ensembl_id"].tolist() == list(layouts.GENES.values())
    assert found.genes["symbol"].tolist() == list(layouts.GENES)

    def mouse(a):
        slice_(a, "ENSMUSG")

    with pytest.raises(ScswError, match="genes of another species, such as ENSMUSG"):
        read(layouts.write_cellxgene(tmp_path / "m.h5ad", "portal", edit=mouse))


@pytest.mark.parametrize("datasets", [1, 2])
def test_what_the_census_holds_twice_is_taken_once(tmp_path, datasets):
    def of_several(a):
        number = np.arange(a.n_obs) % 2
        a.obs["dataset_id"] = [f"set{n % datasets}" for n in number]
        a.obs["is_primary_data"] = number == 0

    found = read(layouts.write_cellxgene(tmp_path / "c.h5ad", "portal", edit=of_several))
    left_out = found.excluded.get("not_primary_data", np.array([False])).sum()
    assert left_out == (len(found.obs) // 2 if datasets == 2 else 0)
