import pytest

from scsw.errors import ScswError
from scsw.fetch.places import fetched_files, place

UUID = "0c2f6a1e-52f0-4b6c-9d8e-3f6a7b8c9d0e"


@pytest.mark.parametrize(
    ("address", "where"),
    [
        ("s3://sea-ad-single-cell-profiling/MTG/RNAseq/a.h5ad", "s3"),
        (UUID, "cellxgene"),
        (f"cellxgene:{UUID.upper()}", "cellxgene"),
        ("syn18485175", "synapse"),
        ("syn18485175.2", "synapse"),
    ],
)
def test_the_form_of_an_address_tells_the_place(address, where):
    assert place(address) == where


@pytest.mark.parametrize(
    "address", ["", "s3://bucket", "https://x.org/a.h5ad", "syn", "12345", f"{UUID}0", "syn1\n"]
)
def test_another_form_is_refused_with_the_known_ones(address):
    with pytest.raises(ScswError, match=r"s3://<bucket>/<key>.*syn<number>"):
        place(address)


def test_one_address_makes_the_path_of_the_cohort():
    cohort = {"name": "a", "path": "data/a.h5ad", "fetch": "s3://b/x.h5ad"}
    assert fetched_files(cohort) == {"data/a.h5ad": "s3://b/x.h5ad"}
    assert fetched_files({"name": "a", "path": "data/a.h5ad"}) == {}


def test_a_mapping_makes_files_inside_the_path():
    cohort = {"path": "data/r", "fetch": {"counts.mtx": "syn1", "meta/clinical.csv": "syn2"}}
    files = {"data/r/counts.mtx": "syn1", "data/r/meta/clinical.csv": "syn2"}
    assert fetched_files(cohort) == files


@pytest.mark.parametrize(
    ("cohort", "text"),
    [
        ({"path": "d", "fetch": {"../x": "syn1"}}, "inside the cohort's `path`"),
        ({"path": "d", "fetch": {"/x": "syn1"}}, "inside the cohort's `path`"),
        ({"path": "d", "fetch": "ftp://x/y"}, "no address"),
        ({"path": "d", "fetch": "syn1", "simulate": {}}, "both `fetch` and `simulate`"),
    ],
)
def test_a_wrong_entry_is_refused(cohort, text):
    with pytest.raises(ScswError, match=text):
        fetched_files(cohort)
