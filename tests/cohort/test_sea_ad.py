"""SEA-AD: codings, releases, folders of per-donor files, CPS from another file."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import read_elem
from scipy import sparse

from scsw.cohort.counts import whole_counts
from scsw.cohort.preprocess import preprocess
from scsw.cohort.read import read_cohort
from scsw.cohort.readers import sea_ad
from scsw.cohort.request import Request
from scsw.cohort.sources import choose
from scsw.errors import ScswError
from scsw.settings import section_settings
from tests.cohort import layouts

CPS = "Continuous Pseudo-progression Score"
STAGES = ("braak", "thal", "cerad", "adnc", "cognition")


@pytest.fixture(scope="module")
def sea_ad_file(tmp_path_factory):
    return layouts.write_sea_ad(tmp_path_factory.mktemp("sea_ad") / "s.h5ad")


def read(path, **asked):
    return sea_ad.read(Request(path, **asked))


def donors_of(found):
    return found.obs.astype({"donor_id": str}).drop_duplicates("donor_id").set_index("donor_id")


def edited(folder, edit):
    return layouts.write_sea_ad(folder / "s.h5ad", edit=edit)


def per_donor_files(folder, one_file, edit=None):
    """Write each donor of a file to one of its own, as SEA-AD's bucket holds them."""
    folder.mkdir()
    whole = ad.read_h5ad(one_file)
    for number, donor in enumerate(whole.obs["Donor ID"].cat.categories):
        part = whole[whole.obs["Donor ID"] == donor].copy()
        if edit:
            part = edit(number, part)
        part.write_h5ad(folder / f"{donor}_SEAAD_MTG_RNAseq_final-nuclei.2024-02-13.h5ad")
    return folder


def test_counts_come_from_the_umi_layer(sea_ad_file, tmp_path):
    found = read(sea_ad_file)
    written = ad.read_h5ad(sea_ad_file)
    counts = layouts.read_counts(found.counts, tmp_path)
    assert (counts != written.layers["UMIs"]).nnz == 0
    assert found.genes["symbol"].tolist() == list(layouts.GENES)
    assert found.genes["ensembl_id"].tolist() == list(layouts.GENES.values())
    assert found.obs.index.tolist() == written.obs_names.tolist()
    assert found.files == [sea_ad_file]


def test_counts_named_by_the_user_take_the_place_of_the_layer(tmp_path):
    def moved(a):
        a.layers["mine"] = a.layers.pop("UMIs")

    path = edited(tmp_path, moved)
    counts = layouts.read_counts(read(path, counts="layers/mine").counts, tmp_path)
    assert (counts != ad.read_h5ad(path).layers["mine"]).nnz == 0
    with pytest.raises(ScswError, match=r"layers are \['mine'\].*--counts layers/mine"):
        read(path)


def test_it_is_told_from_its_columns(sea_ad_file):
    name, how = choose("auto", sea_ad_file)
    assert name == "sea_ad" and "'Donor ID' and 'Subclass'" in how


def test_codings(sea_ad_file):
    donors = donors_of(read(sea_ad_file))
    reference, other = donors.loc["H20.33.000"], donors.loc["H20.33.003"]
    for stage in STAGES:
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


def test_dementia_is_not_matched_as_a_substring(sea_ad_file):
    found = read(sea_ad_file).obs
    by_text = found.groupby("source:Cognitive Status", observed=True)["cognition"].unique()
    assert by_text["No dementia"].tolist() == [0]
    assert by_text["Dementia"].tolist() == [2]


def test_short_names_become_subclasses_and_originals_stay(sea_ad_file):
    obs = read(sea_ad_file).obs
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


def test_before_2024_has_apoe4_status_only(tmp_path):
    def older(a):
        a.obs["APOE4 Status"] = "Y"
        a.obs.drop(columns=["APOE Genotype", "Neurotypical reference"], inplace=True)

    obs = read(edited(tmp_path, older)).obs
    assert set(obs["apoe_genotype"]) == {""}  # a yes to e4 tells no genotype
    assert set(obs["source:APOE4 Status"]) == {"Y"}
    assert donors_of(read(tmp_path / "s.h5ad"))["is_reference"].sum() == 2


def test_cells_not_used_in_the_analysis_are_excluded(tmp_path):
    def unused(a):
        a.obs["Used in analysis"] = ["False"] * 5 + ["True"] * (a.n_obs - 5)

    found = read(edited(tmp_path, unused))
    assert found.excluded["not_used"].sum() == 5
    assert found.excluded["not_used"][:5].all()


def test_with_categories_stored_the_old_way(tmp_path):
    """Files before anndata 0.8 keep categories in ``obs/__categories``."""
    path = layouts.write_sea_ad(tmp_path / "s.h5ad")
    expected = read(path).obs
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
    pd.testing.assert_frame_equal(read(path).obs, expected)


def test_columns_of_the_config_take_the_place_of_the_readers_own(sea_ad_file):
    found = read(sea_ad_file, columns={"cell_type": "Supertype", "braak": ""})
    assert set(found.obs["cell_type"]) == {f"{name}_1" for name in layouts.SEA_AD_TYPES}
    assert set(found.obs["braak"]) == {-1}  # an empty name leaves the field out


def test_a_column_of_the_users_words(tmp_path):
    def other_words(a):
        a.obs["Sex"] = a.obs["Sex"].map({"Female": "w", "Male": "m"})

    path = edited(tmp_path, other_words)
    donors = donors_of(read(path, values={"sex": {"w": "female", "m": "male"}}))
    assert donors["sex"].tolist() == ["female", "male"] * 5


# All-nuclei files


def test_all_nuclei_file_classes_and_nuclei_without_a_subclass(tmp_path):
    """The DLPFC's all-nuclei file says exc, inh, glia, and labels only what passed."""

    def all_nuclei(a):
        classes = {"L2/3 IT": "exc", "Sst": "inh"}
        broad = [classes.get(name, "glia") for name in a.obs["Subclass"]]
        names = a.obs["Subclass"].astype(object).to_numpy()
        names[:4] = np.nan
        names[4:8] = ["New exc", "New inh", "Astro", "Micro-PVM"]  # not among the 24
        a.obs["Class"] = pd.Categorical(broad)
        a.obs["Subclass"] = pd.Categorical(names)

    found = read(edited(tmp_path, all_nuclei))
    assert np.flatnonzero(found.excluded["no_cell_type"]).tolist() == [0, 1, 2, 3]
    assert found.obs["cell_type"].iloc[4:8].tolist() == [
        "New exc", "New inh", "Astrocyte", "Microglia-PVM",
    ]  # fmt: skip
    assert found.obs["cell_class"].iloc[4:8].tolist() == [
        "excitatory", "inhibitory", "glia", "immune",
    ]  # fmt: skip


def test_nuclei_without_a_subclass_do_not_reach_the_cohort(tmp_path):
    def unlabelled(a):
        names = a.obs["Subclass"].astype(object).to_numpy()
        names[::7] = np.nan
        a.obs["Subclass"] = pd.Categorical(names)

    path = edited(tmp_path, unlabelled)
    settings = section_settings("preprocess", layouts.SETTINGS)
    preprocess(path, tmp_path / "out", cohort="c", settings=settings)
    qc = pd.read_csv(tmp_path / "out" / "qc.tsv", sep="\t").set_index("filter")
    assert qc.loc["no_cell_type", "removed"] == 18
    names = ad.read_h5ad(path).obs_names[::7]
    cohort = read_cohort(tmp_path / "out" / "cohort.h5ad")
    assert not set(names) & set(cohort.obs_names)


# A folder of one file per donor


def test_a_folder_of_donors_is_the_same_cohort_as_one_file(sea_ad_file, tmp_path):
    folder = per_donor_files(tmp_path / "donors", sea_ad_file)
    assert choose("auto", folder)[0] == "sea_ad"
    one, many = read(sea_ad_file), read(folder)
    pd.testing.assert_frame_equal(many.obs, one.obs)
    pd.testing.assert_frame_equal(many.genes, one.genes)
    assert many.files == sorted(folder.iterdir())
    for limit in (5, 1 << 20):
        counts = layouts.read_counts(many.counts, tmp_path / "s", limit)
        assert (counts != ad.read_h5ad(sea_ad_file).layers["UMIs"]).nnz == 0


def test_genes_of_donors_may_stand_in_another_order(sea_ad_file, tmp_path):
    def reordered(number, part):
        if number == 0:
            return part
        shift = np.random.default_rng(number).permutation(part.n_vars)
        return part[:, shift].copy()

    folder = per_donor_files(tmp_path / "donors", sea_ad_file, reordered)
    settings = section_settings("preprocess", layouts.SETTINGS)
    for path, out in ((sea_ad_file, tmp_path / "one"), (folder, tmp_path / "many")):
        preprocess(path, out, cohort="c", settings=settings)
    one, many = (read_cohort(tmp_path / name / "cohort.h5ad") for name in ("one", "many"))
    pd.testing.assert_frame_equal(many.obs, one.obs)
    pd.testing.assert_frame_equal(many.var, one.var)
    assert (many.X != one.X).nnz == 0
    written = ad.read_h5ad(sea_ad_file)[one.obs_names, one.var_names].layers["UMIs"]
    assert (written != many.X).nnz == 0


def test_donors_with_other_genes_are_no_one_cohort(sea_ad_file, tmp_path):
    def fewer(number, part):
        return part[:, :-1].copy() if number == 4 else part

    folder = per_donor_files(tmp_path / "donors", sea_ad_file, fewer)
    with pytest.raises(ScswError, match=r"H20\.33\.004.*name different genes \(19 and 20\)"):
        read(folder)


def test_columns_that_some_donors_lack_are_left_out(sea_ad_file, tmp_path):
    def older(number, part):
        if number == 2:
            part.obs.drop(columns="Doublet score", inplace=True)
        return part

    found = read(per_donor_files(tmp_path / "donors", sea_ad_file, older))
    assert found.obs["doublet_score"].isna().all()
    assert len(found.obs) == 120
    assert found.warnings == [
        "Columns that only some of the 10 files have were not read: Doublet score."
    ]


def test_a_folder_without_h5ad_files(tmp_path):
    with pytest.raises(ScswError, match="holds no h5ad file"):
        read(tmp_path)


# Continuous pseudo-progression scores, which SEA-AD gives for MTG only


@pytest.fixture
def dlpfc_file(tmp_path):
    return edited(tmp_path, lambda a: a.obs.drop(columns=CPS, inplace=True))


def expected_cps(donors):
    number = np.array([int(name[-3:]) for name in donors.index])
    return np.where(number < 2, np.nan, 0.2 + 0.7 * number / 10)


def test_cps_is_joined_by_donor_from_another_h5ad(dlpfc_file, sea_ad_file):
    found = read(dlpfc_file, tables={"cps": str(sea_ad_file)})
    assert sea_ad_file in found.files
    donors = donors_of(found)
    np.testing.assert_allclose(donors["cps"], expected_cps(donors))
    assert (found.obs.groupby("donor_id", observed=True)["cps"].nunique() <= 1).all()
    assert read(dlpfc_file).obs["cps"].isna().all()


def cps_table(folder, donors, scores, name="cps.csv", separator=","):
    table = pd.DataFrame({"Donor ID": donors, CPS: scores, "other": "x"})
    table.to_csv(folder / name, index=False, sep=separator)
    return str(folder / name)


@pytest.mark.parametrize(("name", "separator"), [("cps.csv", ","), ("cps.tsv", "\t")])
def test_cps_is_joined_by_donor_from_a_table(dlpfc_file, tmp_path, name, separator):
    donors = ["H20.33.009", "H20.33.004", "H20.33.004", "H21.00.001", "H20.33.001"]
    path = cps_table(tmp_path, donors, ["0.9", "0.25", "0.25", "0.5", ""], name, separator)
    scores = donors_of(read(dlpfc_file, tables={"cps": path}))["cps"].dropna().to_dict()
    assert scores == {"H20.33.004": 0.25, "H20.33.009": 0.9}


def test_the_files_own_score_stands_before_the_tables(sea_ad_file, tmp_path):
    path = cps_table(tmp_path, ["H20.33.001", "H20.33.004"], [0.11, 0.99])
    donors = donors_of(read(sea_ad_file, tables={"cps": path}))
    assert donors.loc["H20.33.001", "cps"] == 0.11  # which the file itself does not score
    assert donors.loc["H20.33.004", "cps"] == pytest.approx(0.48)


@pytest.mark.parametrize(
    ("donors", "scores", "message"),
    [
        (["H20.33.004"] * 2, ["0.1", "0.2"], "gives donor 'H20.33.004' several scores"),
        (["D1", "D2"], ["0.1", "0.2"], "a score for none of the cohort's donors, such as H20"),
        (["H20.33.004"], ["1.2"], "holds '1.2', which is no value of cps"),
    ],
)
def test_cps_tables_that_do_not_fit(dlpfc_file, tmp_path, donors, scores, message):
    path = cps_table(tmp_path, donors, scores)
    with pytest.raises(ScswError, match=message):
        read(dlpfc_file, tables={"cps": path})


def test_the_global_score_of_2026_is_joined(dlpfc_file, tmp_path):
    """It stands once per region of a donor, beside a local one that differs between them."""
    table = pd.DataFrame(
        {
            "Donor ID": ["H20.33.004", "H20.33.004", "H20.33.005"],
            "Brain Region": ["MTG", "HIP", "MTG"],
            "CPS_Global": [0.25, 0.25, 0.5],
            "CPS_Local": [0.1, 0.4, 0.6],
        }
    )
    table.to_csv(tmp_path / "Global_and_Local_CPS.20260105.csv")
    found = read(dlpfc_file, tables={"cps": str(tmp_path / "Global_and_Local_CPS.20260105.csv")})
    scores = donors_of(found)["cps"].dropna().to_dict()
    assert scores == {"H20.33.004": 0.25, "H20.33.005": 0.5}


def test_a_cps_table_without_the_column(dlpfc_file, tmp_path):
    (tmp_path / "cps.csv").write_text("Donor ID,score\nH20.33.004,0.5\n")
    with pytest.raises(ScswError, match=r"no column 'Continuous .*columns are Donor ID, score"):
        read(dlpfc_file, tables={"cps": str(tmp_path / "cps.csv")})


# Barcodes


def test_barcodes_shared_between_libraries_get_the_librarys_name(tmp_path):
    def shared(a):
        a.obs_names = [f"ACGT-{n:03d}" for _ in range(10) for n in range(12)]  # 10 libraries

    path = edited(tmp_path, shared)
    settings = section_settings("preprocess", layouts.SETTINGS)
    preprocess(path, tmp_path / "out", cohort="c", settings=settings)
    cohort = read_cohort(tmp_path / "out" / "cohort.h5ad")
    assert cohort.obs_names.is_unique
    assert {"L000:ACGT-000", "L009:ACGT-011"} <= set(cohort.obs_names)
    assert "120 cells shared their barcodes" in cohort.uns["scsw"]["warnings"][0]
    # Each name still stands at the counts of its cell.
    umis = sparse.csr_matrix(ad.read_h5ad(path).layers["UMIs"])
    rows = [12 * int(name[1:4]) + int(name[-3:]) for name in cohort.obs_names]
    expected = whole_counts(umis[rows], "", "").toarray()
    genes = [list(layouts.GENES).index(name) for name in cohort.var_names]
    np.testing.assert_array_equal(cohort.X.toarray(), expected[:, genes])


def test_barcodes_shared_within_a_library_are_refused(tmp_path):
    def twice(a):
        a.obs_names = ["same", "same", *a.obs_names[2:]]  # both of donor and library 0

    with pytest.raises(ScswError, match=r"1 barcodes occur more than once, such as same"):
        read(edited(tmp_path, twice))


def test_without_batches_donors_name_the_barcodes(tmp_path):
    def shared(a):
        a.obs_names = [f"ACGT-{n:03d}" for _ in range(10) for n in range(12)]
        a.obs.drop(columns="library_prep", inplace=True)

    found = read(edited(tmp_path, shared))
    assert found.obs.index[13] == "H20.33.001:ACGT-001"
    assert "donor and barcode" in found.warnings[0]
