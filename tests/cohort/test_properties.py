"""What must hold for any cohort: counts stay as they are, and blocks leave no trace."""

import tempfile
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, reject, settings
from hypothesis import strategies as st
from scipy import sparse

from scsw.cohort import hdf5_chunks
from scsw.cohort import preprocess as step
from scsw.cohort.harmonise import CODINGS, SPLITS, harmonise, validate
from scsw.cohort.preprocess import preprocess
from scsw.cohort.read import read_cohort
from scsw.cohort.split import split_cells
from scsw.errors import ScswError
from scsw.settings import section_settings
from tests.cohort import layouts

QUICK = settings(max_examples=25, deadline=None, derandomize=True)
# Shrinking a failure of a whole step would take minutes.
STEP = settings(QUICK, phases=[Phase.explicit, Phase.generate])


def run(path, out, limit=None, chunk=None, **given):
    """Preprocess a file, in blocks of so many values and chunks of so many."""
    with pytest.MonkeyPatch.context() as patch:
        if limit:
            patch.setattr(step, "block_values", lambda *given: limit)
        if chunk:
            patch.setattr(hdf5_chunks, "CHUNK", chunk)
        chosen = section_settings("preprocess", layouts.SETTINGS | given)
        preprocess(path, out, cohort="made", settings=chosen)
    return out / "cohort.h5ad"


# Harmonising


def column(coding):
    """Draw values of one column, as a reader may hand them on: coded, missing, text or number."""
    if coding.dtype == "bool":
        return st.booleans()
    if coding.dtype == "int64":
        high = int(coding.high) if np.isfinite(coding.high) else 10**9
        whole = st.integers(int(coding.low), high)
        return whole | whole.map(float)
    if coding.dtype == "float64":
        high = coding.high if np.isfinite(coding.high) else 1e6
        number = st.floats(max(coding.low, 0), high)
        return number | st.just(np.nan) if coding.missing is not None else number
    if coding.values is not None:
        return st.sampled_from(coding.values)
    # HDF5 holds no null character within a text.
    name = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
    return name | st.just(" padded ") | st.just("naïve β") | st.integers(0, 99).map(str)


@st.composite
def tables(draw):
    n = draw(st.integers(1, 6))
    needed = [name for name, coding in CODINGS.items() if coding.missing is None]
    others = [name for name in CODINGS if name not in needed]
    used = [*needed, *draw(st.lists(st.sampled_from(others), unique=True))]
    table = {name: draw(st.lists(column(CODINGS[name]), min_size=n, max_size=n)) for name in used}
    table["source:Braak"] = draw(st.lists(st.sampled_from(["Braak V", "", "x"]), min_size=n,
                                          max_size=n))  # fmt: skip
    table["of no use"] = 1
    as_category = draw(st.lists(st.sampled_from(used), unique=True))
    obs = pd.DataFrame(table, index=[f"c{row}" for row in range(n)])
    return obs.astype({name: "category" for name in as_category if obs[name].dtype == object})


@QUICK
@given(tables())
def test_harmonising_twice_is_harmonising_once(obs):
    once = harmonise(obs)
    pd.testing.assert_frame_equal(harmonise(once), once)
    assert once.columns.tolist() == [*CODINGS, "source:Braak"]
    assert once.index.equals(obs.index)


@QUICK
@given(tables())
def test_what_is_harmonised_survives_the_file(obs):
    """Codings hold after a round through h5ad, and harmonising changes nothing then either."""
    once = harmonise(obs)
    with tempfile.TemporaryDirectory() as folder:
        adata = ad.AnnData(sparse.csr_matrix((len(once), 1)), once.drop(columns="source:Braak"))
        adata.write_h5ad(Path(folder) / "c.h5ad")
        stored = ad.read_h5ad(Path(folder) / "c.h5ad").obs
    pd.testing.assert_frame_equal(
        harmonise(stored), once.drop(columns="source:Braak"), check_categorical=False
    )


# Counts


def unsorted(matrix, random):
    """Shuffle the values within each row or column, as some files hold them."""
    matrix = matrix.copy()
    for first, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        order = first + random.permutation(stop - first)
        matrix.indices[first:stop] = matrix.indices[order]
        matrix.data[first:stop] = matrix.data[order]
    matrix.has_sorted_indices = False
    return matrix


def with_zeros(matrix, random):
    """Store some zeros explicitly."""
    matrix = matrix.copy()
    matrix.data[random.random(matrix.nnz) < 0.1] = 0
    return matrix


@st.composite
def cohorts(draw):
    """Draw how a SEA-AD file is written: its form, its values, the genes that share a symbol."""
    return {
        "seed": draw(st.integers(0, 2**16)),
        "form": draw(st.sampled_from(["csr", "csc", "dense"])),
        "unsorted": draw(st.booleans()),
        "zeros": draw(st.booleans()),
        "dtype": draw(st.sampled_from(["float32", "float64", "int32", "int64", "uint16"])),
        "noise": draw(st.booleans()),
        "twins": draw(st.integers(0, 8)),
        "rate": draw(st.sampled_from([2.0, 5.0, 40.0])),
        "unused": draw(st.floats(0, 0.5)),
        "compression": draw(st.sampled_from(["gzip", "lzf", None])),
    }


def write(path, drawn):
    """Write a SEA-AD file; return its counts by cell and unique symbol, and its annotation."""
    random = np.random.default_rng(drawn["seed"])
    layouts.write_sea_ad(path, n_donors=7, per_donor=8)
    adata = ad.read_h5ad(path)
    dense = random.poisson(drawn["rate"] * random.random(adata.n_vars), adata.shape)
    counts = dense.astype(drawn["dtype"])
    if drawn["noise"] and counts.dtype == np.float64:
        counts += 1e-9 * (counts > 0)
    symbols = adata.var_names.to_numpy(object)
    twins = random.permutation(adata.n_vars - 2)[: 2 * (drawn["twins"] // 2)]  # MT genes stay
    symbols[twins[::2]] = symbols[twins[1::2]]
    adata.obs["Used in analysis"] = np.where(
        random.random(adata.n_obs) < drawn["unused"], "False", "True"
    )
    matrix = counts
    if drawn["form"] != "dense":
        matrix = (sparse.csr_matrix if drawn["form"] == "csr" else sparse.csc_matrix)(counts)
        if drawn["zeros"]:
            matrix = with_zeros(matrix, random)
            dense = np.rint(matrix.toarray()).astype(int)
        if drawn["unsorted"]:
            matrix = unsorted(matrix, random)
    del adata.layers["UMIs"]
    adata.var_names = symbols
    adata.write_h5ad(path)
    with h5py.File(path, "a") as file:  # as it stands: anndata would sort it
        ad.io.write_elem(
            file["layers"], "UMIs", matrix, dataset_kwargs={"compression": drawn["compression"]}
        )
    table = pd.DataFrame(dense, adata.obs_names, symbols)
    return table.T.groupby(level=0, sort=False).sum().T, adata.obs


@settings(STEP, max_examples=12)
@given(
    cohorts(),
    st.integers(0, 6),
    st.integers(0, 30),
    st.integers(0, 12),
    st.integers(1, 400),
)
def test_counts_in_are_counts_out(drawn, min_genes, min_counts, min_cells_per_gene, limit):
    """Against a plain computation from the file: which cells and genes stay, and every count."""
    with tempfile.TemporaryDirectory() as folder:
        expected, annotation = write(Path(folder) / "s.h5ad", drawn)
        thresholds = {
            "min_genes": min_genes,
            "min_counts": min_counts,
            "min_cells_per_gene": min_cells_per_gene,
            "min_cells_per_type": 3,
        }
        try:
            path = run(Path(folder) / "s.h5ad", Path(folder) / "out", limit, 64, **thresholds)
        except ScswError as error:
            # The strictest draws leave no cell or one type only.
            assert "quality control" in str(error) or "one cell type" in str(error), error
            reject()
        cohort = read_cohort(path)
        qc = pd.read_csv(Path(folder) / "out" / "qc.tsv", sep="\t")
    n_genes, total = (expected > 0).sum(axis=1), expected.sum(axis=1)
    passes = (n_genes >= min_genes) & (total >= min_counts)
    passes &= annotation["Used in analysis"].to_numpy() == "True"
    types = annotation["Subclass"].astype(str)
    common = types[passes].value_counts()
    passes &= types.isin(common.index[common >= 3])
    trained = set(cohort.obs.loc[cohort.obs["split"] == "train", "source:Subclass"])
    stays = passes & types.isin(trained)
    stays &= (expected[stays].loc[:, cohort.var_names].sum(axis=1) > 0).reindex(
        stays.index, fill_value=False
    )
    assert set(cohort.obs_names) == set(stays.index[stays])
    trained_passes = passes & types.isin(trained)
    n_cells = (expected[trained_passes] > 0).sum()
    assert set(cohort.var_names) == set(n_cells.index[n_cells >= min_cells_per_gene])

    found = expected.loc[cohort.obs_names]
    np.testing.assert_array_equal(cohort.X.toarray(), found[cohort.var_names])
    np.testing.assert_array_equal(cohort.obs["total_counts"], found.sum(axis=1))
    np.testing.assert_array_equal(cohort.obs["n_genes"], (found > 0).sum(axis=1))
    mito = found[[name for name in found if name.startswith("MT-")]].sum(axis=1)
    shares = 100 * mito / found.sum(axis=1).clip(lower=1)
    np.testing.assert_allclose(cohort.obs["pct_mito"], shares)
    validate(cohort.obs)
    assert (cohort.X.data > 0).all() and cohort.X.has_canonical_format
    cells = qc[qc["axis"] == "cells"]
    assert cells["before"].iloc[0] == len(expected) and cells["after"].iloc[-1] == cohort.n_obs


# Blocks

RESULTS = {"cohort.h5ad", "vocab.json", "qc.tsv", "coverage.tsv"}
WRITE = {
    "csr": lambda folder: layouts.write_sea_ad(folder / "s.h5ad"),
    "csc": lambda folder: layouts.write_sea_ad(folder / "s.h5ad", edit=to_csc),
    "dense": lambda folder: layouts.write_sea_ad(folder / "s.h5ad", edit=to_dense),
    "matrix market": lambda folder: layouts.write_rosmap(folder / "rosmap"),
    "cellxgene": lambda folder: layouts.write_cellxgene(folder / "c.h5ad"),
}


def to_csc(a):
    a.layers["UMIs"] = a.layers["UMIs"].tocsc()


def to_dense(a):
    a.layers["UMIs"] = a.layers["UMIs"].toarray()


@pytest.fixture(scope="module", params=sorted(WRITE))
def in_one_block(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("blocks")
    path = WRITE[request.param](folder)
    run(path, folder / "one", 10**9, 64)
    return path, folder / "one"


@settings(STEP, max_examples=5)
@given(limit=st.integers(1, 700))
def test_any_block_size_gives_the_same_bytes(in_one_block, limit):
    path, one = in_one_block
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        run(path, out, limit, 64)
        assert {file.name for file in out.iterdir()} == {file.name for file in one.iterdir()}
        assert {file.name for file in out.iterdir()} >= RESULTS
        for file in out.iterdir():
            if "provenance" not in file.name:
                assert file.read_bytes() == (one / file.name).read_bytes(), file.name


def test_the_form_of_the_counts_leaves_no_trace(tmp_path):
    """CSR, CSC and dense of the same counts give one and the same cohort."""
    written = []
    for form in ("csr", "csc", "dense"):
        (tmp_path / form).mkdir()
        written.append(run(WRITE[form](tmp_path / form), tmp_path / form / "out").read_bytes())
    assert len(set(written)) == 1


# Splits


@QUICK
@given(
    n_donors=st.integers(4, 16),
    seed=st.integers(0, 2**32 - 1),
    order=st.randoms(use_true_random=False),
)
def test_no_donor_crosses_and_the_order_of_cells_does_not_matter(n_donors, seed, order):
    random = np.random.default_rng(seed)
    donor = np.repeat(np.arange(n_donors), 3)
    stage = random.integers(-1, 4, n_donors)
    obs = pd.DataFrame(
        {
            "cell_id": [f"c{n}" for n in range(len(donor))],
            "donor_id": [f"d{n}" for n in donor],
            "cell_type": "A",
            "sex": np.where(donor % 2, "male", "female"),
            "study": np.where(donor % 3, "one", "two"),
            "adnc": stage[donor],
            "braak": -1,
            "is_reference": (random.random(n_donors) < 0.2)[donor],
        },
        index=[f"c{n}" for n in range(len(donor))],
    )
    shares = dict(zip(SPLITS, (0.4, 0.1, 0.2, 0.3), strict=True))
    parts = split_cells(obs, shares, seed).of_cell
    assert (parts.groupby(obs["donor_id"]).nunique() == 1).all()
    rows = list(range(len(obs)))
    order.shuffle(rows)
    again = split_cells(obs.iloc[rows], shares, seed).of_cell
    assert again.loc[parts.index].tolist() == parts.tolist()
