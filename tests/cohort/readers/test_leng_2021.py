"""Leng 2021: the authors' columns, alone and in CELLxGENE's copies."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scsw.cohort.preprocess import preprocess
from scsw.cohort.read import read_cohort
from scsw.cohort.readers import cellxgene, leng_2021
from scsw.cohort.request import Request
from scsw.cohort.sources import choose
from scsw.errors import ScswError
from scsw.settings import section_settings
from tests.cohort import layouts

TYPES = ("Exc", "Inh", "Astro", "Oligo", "OPC", "Micro", "Endo")
SETTINGS = section_settings("preprocess", layouts.SETTINGS)
N_DONORS, PER_DONOR = 8, 14


def written_counts():
    return layouts.counts(layouts.cells(N_DONORS, PER_DONOR, TYPES)[1], seed=5)


def write(path, edit=None, donor_column="PatientID", region="EC"):
    donor, types = layouts.cells(N_DONORS, PER_DONOR, TYPES)
    obs = pd.DataFrame(
        {
            "SampleID": [f"{region}{d + 1}" for d in donor],
            donor_column: [f"{d + 1}" for d in donor],
            "BraakStage": np.array([0, 2, 6])[donor % 3],
            "clusterAssignment": [f"{region}:{t}.1" for t in types],
            "clusterCellType": types,
        },
        index=[f"{region}{d + 1}_ACGT{i:05d}" for i, d in enumerate(donor)],
    )
    obs = obs.astype({"clusterCellType": "category", "BraakStage": "category"})
    var = pd.DataFrame(index=list(layouts.GENES))
    adata = ad.AnnData(written_counts(), obs, var)
    if edit:
        edit(adata)
    adata.write_h5ad(path)
    return path


def as_cellxgene(a):
    a.obs["donor_id"] = a.obs["PatientID"]
    a.obs["cell_type"] = a.obs["clusterCellType"]
    a.obs["cell_type_ontology_term_id"] = "CL:0000540"
    a.obs["suspension_type"], a.obs["tissue_type"] = "nucleus", "tissue"
    a.obs["sex"], a.obs["assay"], a.obs["tissue"] = "male", "10x 3' v2", "entorhinal cortex"
    a.var["feature_name"] = a.var_names
    a.var_names = list(layouts.GENES.values())


def read(path, **asked):
    return leng_2021.read(Request(path, **asked))


def test_it_is_told_from_its_columns(tmp_path):
    name, how = choose("auto", write(tmp_path / "l.h5ad"))
    assert name == "leng_2021" and "'BraakStage'" in how


def test_a_copy_of_cellxgene_is_read_as_such_with_its_braak_stage(tmp_path):
    path = write(tmp_path / "c.h5ad", as_cellxgene)
    assert choose("auto", path)[0] == "cellxgene"
    found = cellxgene.read(Request(path))
    expected = np.array([0, 2, 6])[layouts.cells(N_DONORS, PER_DONOR, TYPES)[0] % 3]
    assert found.obs["braak"].tolist() == expected.tolist()


@pytest.mark.parametrize("donor_column", ["PatientID", "donor_id"])
def test_codings(tmp_path, donor_column):
    path = write(tmp_path / "l.h5ad", donor_column=donor_column)
    assert choose("auto", path)[0] == "leng_2021"
    obs = read(path).obs
    donors = obs.astype({"donor_id": str}).drop_duplicates("donor_id").set_index("donor_id")
    assert donors.index.tolist() == [str(d + 1) for d in range(N_DONORS)]
    assert donors["braak"].tolist() == [0, 2, 6, 0, 2, 6, 0, 2]
    assert donors["batch"].tolist() == [f"EC{d + 1}" for d in range(N_DONORS)]
    assert set(donors["sex"]) == {"unknown"} and set(donors["adnc"]) == {-1}
    assert set(donors["region"]) == {"entorhinal cortex"}
    assert set(obs["supertype"]) == {f"EC:{t}.1" for t in TYPES}
    assert dict(zip(obs["cell_type"], obs["cell_class"], strict=True)) == {
        "Exc": "excitatory",
        "Inh": "inhibitory",
        "Astro": "glia",
        "Oligo": "glia",
        "OPC": "glia",
        "Micro": "immune",
        "Endo": "vascular",
    }


@pytest.mark.parametrize(
    "region, expected", [("SFG", "superior frontal gyrus"), ("EC", "entorhinal cortex"), ("X", "")]
)
def test_regions(tmp_path, region, expected):
    assert set(read(write(tmp_path / "l.h5ad", region=region)).obs["region"]) == {expected}


def test_missing_stages(tmp_path):
    def edit(a):
        a.obs["BraakStage"] = a.obs["BraakStage"].astype(str).replace({"6": "NA", "2": "II"})

    assert set(read(write(tmp_path / "l.h5ad", edit)).obs["braak"]) == {0, 2, -1}


def logged_x(a):
    a.layers["counts"] = a.X.copy()
    a.X = a.X.log1p()


def logged_with_raw(a):
    a.raw = a.copy()
    a.X = a.X.log1p()


@pytest.mark.parametrize("edit", [None, logged_x, logged_with_raw])
def test_counts_are_found(tmp_path, edit):
    found = read(write(tmp_path / "l.h5ad", edit))
    counts = layouts.read_counts(found.counts, tmp_path / "s")
    assert (counts != written_counts()).nnz == 0
    assert found.genes["symbol"].tolist() == list(layouts.GENES)


def test_genes_named_by_ensembl_id(tmp_path):
    def edit(a):
        a.var_names = list(layouts.GENES.values())

    genes = read(write(tmp_path / "l.h5ad", edit)).genes
    assert genes["ensembl_id"].tolist() == list(layouts.GENES.values())
    assert genes["symbol"].tolist() == list(layouts.GENES)


def test_the_whole_step(tmp_path):
    out = tmp_path / "out"
    path = write(tmp_path / "l.h5ad")
    preprocess(path, out, cohort="made", settings=SETTINGS, training=True)
    cohort = read_cohort(out / "cohort.h5ad")
    assert cohort.uns["scsw"]["source"] == "leng_2021"
    assert cohort.n_obs == N_DONORS * PER_DONOR
    assert cohort.obs.groupby("donor_id")["split"].nunique().max() == 1
    columns = [list(layouts.GENES).index(symbol) for symbol in cohort.var["symbol"]]
    place = [int(name.split("ACGT")[1]) for name in cohort.obs["cell_id"]]
    assert (written_counts()[place][:, columns] != cohort.X).nnz == 0


def drop(*names):
    return lambda a: a.obs.drop(columns=list(names), inplace=True)


def set_obs(name, value):
    def edit(a):
        a.obs[name] = value

    return edit


def log_only(a):
    a.X = a.X.log1p()


def negative(a):
    a.X = -a.X


def same_barcodes(a):
    a.obs_names = ["same"] * a.n_obs


MALFORMED = [
    (drop("PatientID"), "no column for donor_id"),
    (drop("clusterCellType"), "no column for cell_type"),
    (drop("BraakStage"), "no column for braak"),
    (set_obs("BraakStage", "9"), "'9', which is no value of braak"),
    (set_obs("clusterCellType", "Exc"), "one cell type only"),
    (log_only, "no matrix of .* holds whole numbers"),
    (negative, "negative values"),
    (same_barcodes, "barcodes occur more than once"),
]


@pytest.mark.parametrize("edit, message", MALFORMED, ids=[text for _, text in MALFORMED])
def test_malformed(tmp_path, edit, message):
    path, out = write(tmp_path / "l.h5ad", edit), tmp_path / "out"
    with pytest.raises(ScswError, match=message):
        preprocess(path, out, cohort="made", source="leng_2021", settings=SETTINGS)
    assert not out.exists() or not list(out.iterdir())


def test_a_truncated_file(tmp_path):
    path, out = write(tmp_path / "l.h5ad"), tmp_path / "out"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ScswError, match="cannot be opened as HDF5"):
        preprocess(path, out, cohort="made", source="leng_2021", settings=SETTINGS)
    assert not out.exists() or not list(out.iterdir())
