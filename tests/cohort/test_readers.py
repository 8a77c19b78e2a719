"""Every source's coding ends in the shared one."""

import gzip
import shutil

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import read_elem

from scsw.cohort import cellxgene, rosmap, sea_ad
from tests.cohort import layouts


@pytest.fixture(scope="module")
def sea_ad_file(tmp_path_factory):
    return layouts.write_sea_ad(tmp_path_factory.mktemp("sea_ad") / "s.h5ad")


@pytest.fixture
def rosmap_folder(tmp_path):
    return layouts.write_rosmap(tmp_path / "rosmap")


def donors_of(found):
    return found.obs.drop_duplicates("donor_id").set_index("donor_id")


def test_sea_ad_reads_counts_from_the_umi_layer(sea_ad_file):
    found = sea_ad.read(str(sea_ad_file))
    written = ad.read_h5ad(sea_ad_file)
    assert found.counts.dtype == np.int32
    assert (found.counts != written.layers["UMIs"]).nnz == 0
    assert found.genes["symbol"].tolist() == list(layouts.GENES)
    assert found.genes["ensembl_id"].tolist() == list(layouts.GENES.values())
    assert found.obs.index.tolist() == written.obs_names.tolist()


def test_sea_ad_codings(sea_ad_file):
    donors = donors_of(sea_ad.read(str(sea_ad_file)))
    reference, other = donors.loc["H20.33.000"], donors.loc["H20.33.003"]
    for stage in ("braak", "thal", "cerad", "adnc", "cognition"):
        assert reference[stage] == -1, stage
    assert reference["is_reference"]
    assert np.isnan(reference["pmi"]) and np.isnan(reference["cps"])
    assert (other["adnc"], other["braak"], other["thal"], other["cerad"]) == (3, 6, 5, 3)
    assert (other["age_death"], other["age_censored"]) == (90, True)
    assert (donors.loc["H20.33.004", "age_death"], donors.loc["H20.33.004", "age_censored"]) == (
        74,
        False,
    )
    assert donors["sex"].tolist() == ["female", "male"] * 5
    assert donors["apoe_genotype"].tolist()[:3] == ["33", "34", "24"]
    assert not other["is_reference"]
    assert other["pmi"] == 7.5


def test_sea_ad_dementia_is_not_matched_as_a_substring(sea_ad_file):
    found = sea_ad.read(str(sea_ad_file)).obs
    by_text = found.groupby("source:Cognitive Status")["cognition"].unique()
    assert by_text["No dementia"].tolist() == [0]
    assert by_text["Dementia"].tolist() == [2]


def test_sea_ad_short_names_become_subclasses_and_originals_stay(sea_ad_file):
    obs = sea_ad.read(str(sea_ad_file)).obs
    assert set(obs["cell_type"]) == {"L2/3 IT", "Sst", "Astrocyte", "Microglia-PVM"}
    assert set(obs["source:Subclass"]) == set(layouts.SEA_AD_TYPES)
    pairs = set(zip(obs["cell_type"], obs["cell_class"], strict=True))
    assert pairs == {
        ("L2/3 IT", "excitatory"),
        ("Sst", "inhibitory"),
        ("Astrocyte", "glia"),
        ("Microglia-PVM", "immune"),
    }
    assert not any("/" in name for name in obs.columns)


def test_sea_ad_before_2024_has_apoe4_status_only(tmp_path):
    def older(a):
        a.obs["APOE4 Status"] = "Y"
        a.obs.drop(columns=["APOE Genotype", "Neurotypical reference"], inplace=True)

    obs = sea_ad.read(str(layouts.write_sea_ad(tmp_path / "s.h5ad", edit=older))).obs
    assert set(obs["apoe_genotype"]) == {""}  # a yes to e4 tells no genotype
    assert set(obs["source:APOE4 Status"]) == {"Y"}
    assert donors_of(sea_ad.read(str(tmp_path / "s.h5ad")))["is_reference"].sum() == 2


def test_sea_ad_cells_not_used_in_the_analysis_are_excluded(tmp_path):
    def unused(a):
        a.obs["Used in analysis"] = ["False"] * 5 + ["True"] * (a.n_obs - 5)

    found = sea_ad.read(str(layouts.write_sea_ad(tmp_path / "s.h5ad", edit=unused)))
    assert found.excluded["not_used"].sum() == 5
    assert found.excluded["not_used"][:5].all()


def test_sea_ad_with_categories_stored_the_old_way(tmp_path):
    """Files before anndata 0.8 keep categories in ``obs/__categories``."""
    path = layouts.write_sea_ad(tmp_path / "s.h5ad")
    expected = sea_ad.read(str(path)).obs
    with h5py.File(path, "a") as file:
        obs = file["obs"]
        names = [n for n in obs if isinstance(obs[n], h5py.Group)]
        columns = {n: read_elem(obs[n]) for n in names}
        old = obs.create_group("__categories")
        for name, column in columns.items():
            del obs[name]
            key = name.replace("/", "_")
            old.create_dataset(key, data=list(column.categories), dtype=h5py.string_dtype())
            codes = obs.create_dataset(name, data=column.codes)
            codes.attrs["categories"] = old[key].ref
        obs.attrs["encoding-version"] = "0.1.0"
    pd.testing.assert_frame_equal(sea_ad.read(str(path)).obs, expected)


def test_rosmap_codings(rosmap_folder):
    found = rosmap.read(str(rosmap_folder))
    donors = donors_of(found)
    assert donors.index.tolist() == [f"{90_100 + 11 * d:08d}" for d in range(8)]
    # The source's 1 = definite ... 4 = no AD, the other way round.
    assert donors["cerad"].tolist() == [3, 2, 1, 0, 3, 2, 1, 0]
    assert donors["braak"].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
    assert donors["cognition"].tolist() == [0, 1, 1, 2, 2, 2, 0, 1]
    assert donors["sex"].tolist() == ["female", "male"] * 4
    assert set(donors["adnc"]) == {-1} and set(donors["thal"]) == {-1}
    assert donors["age_death"].tolist() == [90, 76, 77, 90, 79, 80, 90, 82]
    assert donors["age_censored"].tolist() == [True, False, False] * 2 + [True, False]
    assert np.isnan(donors["pmi"].iloc[1]) and donors["pmi"].iloc[0] == 6.25
    assert donors["apoe_genotype"].tolist() == ["34", "34", "34", ""] * 2
    assert not donors["is_reference"].any()
    classes = {"Ex": "excitatory", "In": "inhibitory", "Ast": "glia", "Mic": "immune"}
    assert (found.obs["cell_class"] == found.obs["cell_type"].map(classes)).all()
    assert set(found.obs["source:ceradsc"]) == {"1", "2", "3", "4"}
    assert "source:projid" in found.obs


def test_rosmap_counts_are_transposed_and_genes_named(rosmap_folder):
    found = rosmap.read(str(rosmap_folder))
    expected = layouts.counts(layouts.cells(8, 12, layouts.MATHYS_TYPES)[1], seed=2)
    assert (found.counts != expected).nnz == 0
    assert found.genes["ensembl_id"].tolist() == list(layouts.GENES.values())


def test_rosmap_gzipped_matrix_without_ensembl_ids(rosmap_folder):
    plain = rosmap.read(str(rosmap_folder))
    matrix = rosmap_folder / "filtered_count_matrix.mtx"
    with gzip.open(f"{matrix}.gz", "wb") as packed, matrix.open("rb") as text:
        shutil.copyfileobj(text, packed)
    matrix.unlink()
    (rosmap_folder / "notfiltered_gene_row_names.txt").unlink()
    found = rosmap.read(str(rosmap_folder))
    assert (found.counts != plain.counts).nnz == 0
    assert set(found.genes["ensembl_id"]) == {""}


@pytest.mark.parametrize("write", [str, lambda number: f"{int(number):08d}", "{}.0".format])
def test_rosmap_participant_numbers_match_padded_or_not(rosmap_folder, write):
    file = rosmap_folder / "filtered_column_metadata.txt"
    table = pd.read_csv(file, sep="\t", dtype=str)
    table["projid"] = table["projid"].map(write)
    table.to_csv(file, sep="\t", index=False)
    assert donors_of(rosmap.read(str(rosmap_folder))).index[0] == "00090100"


def test_rosmap_clinical_table_elsewhere(rosmap_folder, tmp_path):
    elsewhere = tmp_path / "clinical.csv"
    shutil.move(rosmap_folder / "ROSMAP_clinical.csv", elsewhere)
    assert len(donors_of(rosmap.read(str(rosmap_folder), clinical=str(elsewhere)))) == 8


def test_cellxgene_submission(tmp_path):
    path = layouts.write_cellxgene(tmp_path / "c.h5ad")
    found = cellxgene.read(str(path))
    assert (found.counts != ad.read_h5ad(path).raw.X).nnz == 0
    # No feature_name: symbols come from the gene table, and that is remembered.
    assert found.genes["symbol"].tolist() == list(layouts.GENES)
    assert found.genes["from_table"].all()
    assert set(found.obs["cell_type"]) == set(layouts.AUTHOR_TYPES)
    assert set(found.obs["cell_class"]) == {"glia", "immune", "inhibitory"}
    assert donors_of(found)["sex"].tolist() == ["female", "male"] * 3
    assert set(found.obs["region"]) == {"UBERON:0002771"}
    assert found.obs["age_death"].isna().all()
    assert set(found.obs["adnc"]) == {-1}


def test_cellxgene_portal(tmp_path):
    found = cellxgene.read(str(layouts.write_cellxgene(tmp_path / "c.h5ad", form="portal")))
    assert not found.genes["from_table"].any()
    assert set(found.obs["cell_type"]) == set(layouts.AUTHOR_TYPES)
    donors = donors_of(found)
    assert donors["sex"].tolist() == ["female", "male"] * 3
    assert donors["age_death"].tolist() == [64, 80] * 3
    assert donors["age_censored"].tolist() == [False, True] * 3
    assert set(found.obs["region"]) == {"middle temporal gyrus"}
    assert set(found.obs["source:disease"]) == {"normal"}


def test_cellxgene_with_counts_in_x_and_ids_with_versions(tmp_path):
    def only_x(a):
        a.X = a.raw.X + a.raw.X.sign() * 1e-9  # as some published files are
        a.raw = None
        a.var_names = [f"{name}.7" for name in a.var_names]

    found = cellxgene.read(str(layouts.write_cellxgene(tmp_path / "c.h5ad", edit=only_x)))
    expected = layouts.counts(layouts.cells(6, 12, layouts.AUTHOR_TYPES)[1], seed=1)
    assert (found.counts != expected).nnz == 0
    assert found.genes["ensembl_id"].tolist() == list(layouts.GENES.values())


def test_cellxgene_ontology_ids_alone_give_a_class(tmp_path):
    def no_names(a):
        a.obs.drop(columns="author_cell_type", inplace=True)

    obs = cellxgene.read(str(layouts.write_cellxgene(tmp_path / "c.h5ad", edit=no_names))).obs
    assert set(zip(obs["cell_type"], obs["cell_class"], strict=True)) == {
        ("CL:0000127", "glia"),
        ("CL:0000129", "immune"),
        ("CL:0000617", "inhibitory"),
    }


def test_cellxgene_rerelease_of_sea_ad_keeps_its_stages(tmp_path):
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

    obs = cellxgene.read(str(layouts.write_cellxgene(tmp_path / "c.h5ad", edit=staged))).obs
    first = obs.iloc[0]
    assert [first[n] for n in ("adnc", "braak", "thal", "cerad", "cognition")] == [3, 5, 4, 3, 0]
    assert np.isnan(first["age_death"])


def test_columns_of_the_config_take_the_place_of_the_readers_own(sea_ad_file):
    found = sea_ad.read(str(sea_ad_file), {"cell_type": "Supertype", "braak": ""})
    assert set(found.obs["cell_type"]) == {f"{name}_1" for name in layouts.SEA_AD_TYPES}
    assert set(found.obs["braak"]) == {-1}  # an empty name leaves the field out
