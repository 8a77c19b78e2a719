import numpy as np
import pytest
from scipy import sparse

from scsw.cohort import read
from scsw.cohort.preprocess import preprocess
from scsw.cohort.read import cohort_facts, read_cohort
from scsw.errors import ScswError
from scsw.settings import section_settings
from tests.cohort import layouts


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("read")

    def reversed_names(a):
        a.obs_names = a.obs_names[::-1].tolist()

    source = layouts.write_sea_ad(folder / "s.h5ad", edit=reversed_names)
    settings = section_settings("preprocess", layouts.SETTINGS)
    preprocess(source, folder, cohort="c", source="sea_ad", settings=settings, simulated=True)
    return folder / "cohort.h5ad"


def test_rows_are_sorted_and_keep_their_counts(path):
    cohort = read_cohort(path)
    assert cohort.obs["cell_id"].is_monotonic_increasing
    assert isinstance(cohort.X, sparse.csr_matrix) and cohort.X.dtype == np.int32
    np.testing.assert_array_equal(
        np.asarray(cohort.X.sum(axis=1)).ravel(), cohort.obs["total_counts"]
    )


def test_only_the_asked_splits(path):
    whole = read_cohort(path)
    part = read_cohort(path, splits=["test", "discovery"])
    assert set(part.obs["split"]) == {"test", "discovery"}
    rows = whole.obs["split"].isin(["test", "discovery"]).to_numpy()
    assert part.obs_names.tolist() == whole.obs_names[rows].tolist()
    assert (whole.X[rows] != part.X).nnz == 0


def test_reading_in_blocks_changes_nothing(path, monkeypatch):
    whole = read_cohort(path, splits=["train", "test"], max_cells_per_donor=5)
    monkeypatch.setattr(read, "_BLOCK", 7)
    blocks = read_cohort(path, splits=["train", "test"], max_cells_per_donor=5)
    assert blocks.obs.equals(whole.obs)
    assert (blocks.X != whole.X).nnz == 0


def test_cap_per_donor(path):
    capped = read_cohort(path, splits=["test"], max_cells_per_donor=4)
    assert (capped.obs["donor_id"].value_counts() == 4).all()
    again = read_cohort(path, splits=["test"], max_cells_per_donor=4)
    assert again.obs_names.tolist() == capped.obs_names.tolist()
    # A donor's draw does not depend on which other splits are read.
    all_splits = read_cohort(path, max_cells_per_donor=4)
    assert set(capped.obs_names) <= set(all_splits.obs_names)


def test_texts_are_plain_strings(path):
    obs = read_cohort(path).obs
    for name in ("cell_type", "donor_id", "split", "sex", "source:Subclass"):
        assert obs[name].dtype == object, name
        assert isinstance(obs[name].iloc[0], str)


def test_facts_have_plain_types(path):
    facts = cohort_facts(path)
    assert facts["simulated"] is True
    assert facts["warnings"] == []
    assert facts["n_donors"] == 10 and type(facts["n_donors"]) is int
    assert facts["cohort"] == "c" and type(facts["cohort"]) is str
    assert read_cohort(path).uns["scsw"] == facts


def test_another_h5ad_is_no_cohort(tmp_path):
    other = layouts.write_sea_ad(tmp_path / "s.h5ad")
    for function in (read_cohort, cohort_facts):
        with pytest.raises(ScswError, match="not a cohort that scsw has preprocessed"):
            function(other)
        with pytest.raises(ScswError, match="does not exist"):
            function(tmp_path / "none.h5ad")


def test_unknown_split(path):
    with pytest.raises(ScswError, match="no such split: holdout"):
        read_cohort(path, splits=["holdout"])


def test_no_cell_left(path):
    with pytest.raises(ScswError, match="has no cell in"):
        read_cohort(path, splits=[])
