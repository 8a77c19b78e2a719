"""SEA-AD's spatial files: genes without the blank probes, places kept, no fine-tuning."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from scsw.cohort.readers import sea_ad_merfish
from scsw.cohort.request import Request
from scsw.cohort.sources import choose, input_files
from scsw.errors import ScswError
from tests.cohort import layouts
from tests.cohort.readers.layout_sea_ad_merfish import write
from tests.cohort.readers.running import refused, run


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write(tmp_path_factory.mktemp("merfish") / "SEAAD_MTG_MERFISH.h5ad")


@pytest.fixture(scope="module")
def found(path):
    return sea_ad_merfish.read(Request(path))


def test_it_is_told_from_the_single_nucleus_files(path, tmp_path):
    assert choose("auto", path) == (
        "sea_ad_merfish",
        "its obs has the columns 'Donor ID' and 'Section'",
    )
    assert choose("auto", layouts.write_sea_ad(tmp_path / "s.h5ad"))[0] == "sea_ad"
    assert input_files("auto", str(path)) == [str(path)]


def test_blank_probes_tell_it_too(tmp_path):
    def unnamed(a):
        a.obs.drop(columns=["Section", "Specimen Barcode"], inplace=True)

    name, how = choose("auto", write(tmp_path / "m.h5ad", unnamed))
    assert name == "sea_ad_merfish" and "blank probes" in how


def test_blank_probes_are_dropped_wherever_they_stand(tmp_path):
    def shuffled(a):
        a._inplace_subset_var(np.random.default_rng(0).permutation(a.n_vars))

    file = write(tmp_path / "m.h5ad", shuffled)
    found = sea_ad_merfish.read(Request(file))
    stored = ad.read_h5ad(file)
    genes = [name for name in stored.var_names if not name.startswith("Blank-")]
    assert len(genes) == len(layouts.GENES) and found.genes["symbol"].tolist() == genes
    counts = layouts.read_counts(found.counts, tmp_path)
    assert (counts != stored[:, genes].layers["raw"]).nnz == 0


def test_places_of_the_cells(found, path):
    stored = ad.read_h5ad(path)
    assert list(found.coordinates) == [
        "spatial",
        "X_spatial_raw",
        "X_selected_cell_spatial_tiled",
    ]
    for name, places in found.coordinates.items():
        np.testing.assert_array_equal(places, stored.obsm[name])


def test_codings(found):
    donors = found.obs.astype({"donor_id": str}).drop_duplicates("donor_id").set_index("donor_id")
    reference, other = donors.iloc[0], donors.iloc[1]
    assert [reference[name] for name in ("braak", "adnc", "thal", "cerad")] == [-1, -1, -1, -1]
    assert reference["is_reference"] and np.isnan(reference["cps"])
    assert [other[name] for name in ("braak", "adnc", "sex")] == [4, 3, "male"]
    assert (other["age_death"], other["age_censored"]) == (90, True)
    assert other["cps"] == pytest.approx(0.3) and not other["is_reference"]
    assert set(found.obs["assay"]) == {"MERFISH"}
    assert set(zip(found.obs["cell_type"], found.obs["cell_class"], strict=True)) == {
        ("L2/3 IT", "excitatory"),
        ("Sst", "inhibitory"),
        ("Astrocyte", "glia"),
        ("Microglia-PVM", "immune"),
    }
    assert set(found.obs["batch"]) == {f"H20.33.00{d}.Cx25.MTG.02.007" for d in range(6)}
    assert found.excluded["not_used"].sum() == 6


def test_the_step_writes_a_spatial_file(path, tmp_path):
    run(path, tmp_path / "out")
    assert not (tmp_path / "out" / "cohort.h5ad").exists()
    made, stored = ad.read_h5ad(tmp_path / "out" / "spatial.h5ad"), ad.read_h5ad(path)
    stored = stored[stored.obs["Used in analysis"] == "True"]
    assert made.obs_names.tolist() == stored.obs_names.tolist()
    assert sorted(made.var_names) == sorted(layouts.GENES)
    assert (stored[:, made.var_names].layers["raw"] != made.X).nnz == 0
    for name in sea_ad_merfish.COORDINATES:
        np.testing.assert_array_equal(made.obsm[name], stored.obsm[name])
    removed = pd.read_csv(tmp_path / "out" / "qc.tsv", sep="\t").set_index("filter")["removed"]
    assert removed["not_used"] == 6


def test_it_cannot_be_fine_tuned_on(path, tmp_path):
    message = "20 genes, measured in the tissue by MERFISH, are too few to fine-tune a model on"
    refused(message, path, tmp_path / "out", training=True)


def without_coordinates(a):
    a.obsm.clear()


def long_coordinates(a):
    a.obsm["spatial"] = np.zeros((a.n_obs, 5))


def without_counts(a):
    del a.layers["raw"]


def unknown_stage(a):
    a.obs["Braak"] = "Braak IX"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (without_counts, r"no layers\['raw'\]; its layers are none"),
        (without_coordinates, "no coordinates; its obsm holds nothing"),
        (long_coordinates, r"obsm/spatial of .* has the shape \(96, 5\)"),
        (unknown_stage, "column 'Braak' holds 'Braak IX'"),
        (lambda a: a.obs.drop(columns="Donor ID", inplace=True), "no column for donor_id"),
        (lambda a: a.obs.drop(columns="Subclass", inplace=True), "no column for cell_type"),
    ],
)
def test_malformed(edit, message, tmp_path):
    refused(message, write(tmp_path / "m.h5ad", edit), tmp_path / "out", source="sea_ad_merfish")


def test_normalised_values_are_refused_and_the_layer_is_named(path, tmp_path):
    message = "X of .* not whole numbers.*layers/raw of this file holds whole numbers"
    refused(message, path, tmp_path / "out", counts="X")


def test_a_turned_matrix(path, tmp_path):
    turned = tmp_path / "m.h5ad"
    turned.write_bytes(path.read_bytes())
    with h5py.File(turned, "a") as file:
        raw = ad.io.read_elem(file["layers/raw"])
        del file["layers/raw"]
        ad.io.write_elem(file["layers"], "raw", raw.T.tocsr())
    with pytest.raises(ScswError, match="the wrong way round"):
        sea_ad_merfish.read(Request(turned))
