"""Grubman 2019: pools as donors, untyped cells, counts as text of genes × cells."""

import gzip
import warnings

import numpy as np
import pandas as pd
import pytest

from scsw.cohort.preprocess import preprocess
from scsw.cohort.read import cohort_facts, read_cohort
from scsw.cohort.readers import grubman_2019
from scsw.cohort.request import Request
from scsw.cohort.sources import choose
from scsw.errors import ScswError
from scsw.settings import section_settings
from tests.cohort import layouts

COUNTS, CELLS = grubman_2019.COUNTS, grubman_2019.CELLS
TYPES = ("astro", "oligo", "OPC", "mg", "neuron", "endo")
POOLS = ("AD1_AD2", "AD3_AD4", "AD5_AD6", "Ct1_Ct2", "Ct3_Ct4", "Ct5_Ct6")
PER_POOL = 18
UNTYPED = {3: "unID", 20: "doublet", 41: "doublet"}
SETTINGS = section_settings("preprocess", layouts.SETTINGS)


def annotation():
    pool, types = layouts.cells(len(POOLS), PER_POOL, TYPES)
    types = types.astype(object)
    types[list(UNTYPED)] = list(UNTYPED.values())
    return [POOLS[p] for p in pool], types


def written_counts():
    return layouts.counts(layouts.cells(len(POOLS), PER_POOL, TYPES)[1], seed=4)


@pytest.fixture
def folder(tmp_path):
    """Write both files as R does: quoted texts, a first column without a name."""
    folder = tmp_path / "GSE138852"
    folder.mkdir()
    pools, types = annotation()
    barcodes = [f"ACGT{i:06d}_{pool}" for i, pool in enumerate(pools)]
    counts = written_counts().toarray().astype(int).T
    pd.DataFrame(counts, index=list(layouts.GENES), columns=barcodes).to_csv(
        folder / COUNTS, quoting=2
    )
    table = pd.DataFrame(
        {
            "oupSample.batchCond": ["AD" if pool.startswith("AD") else "ct" for pool in pools],
            "oupSample.cellType": types,
            "oupSample.cellType_batchCond": [f"{t}_x" for t in types],
            "oupSample.subclustID": [f"{t}1" for t in types],
        },
        index=barcodes,
    )
    table.sample(frac=1, random_state=0).to_csv(folder / CELLS, quoting=2)
    return folder


def read(path, **asked):
    return grubman_2019.read(Request(path, **asked))


def rewrite(path, edit):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        text = edit(lines.read())
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        lines.write(text)


@pytest.mark.parametrize("name", [None, COUNTS])
def test_it_is_told_from_folder_or_file(folder, name):
    source, how = choose("auto", folder / name if name else folder)
    assert source == "grubman_2019"
    assert COUNTS in how and CELLS in how


def test_plain_files_are_read_too(folder, tmp_path):
    expected = layouts.read_counts(read(folder).counts, tmp_path / "packed")
    for name in (COUNTS, CELLS):
        (folder / name.removesuffix(".gz")).write_bytes(
            gzip.decompress((folder / name).read_bytes())
        )
        (folder / name).unlink()
    assert choose("auto", folder)[0] == "grubman_2019"
    assert (layouts.read_counts(read(folder).counts, tmp_path / "plain") != expected).nnz == 0


def test_an_empty_folder_beside_the_files_is_not_claimed(folder):
    (folder / "empty").mkdir()
    with pytest.raises(ScswError, match="no known layout"):
        choose("auto", folder / "empty")


def test_files_are_named_before_they_exist(tmp_path):
    named = grubman_2019.files(tmp_path / "no", {})
    assert named == [str(tmp_path / "no" / COUNTS), str(tmp_path / "no" / CELLS)]


def test_codings(folder):
    found = read(folder)
    obs = found.obs.astype({"donor_id": str, "cell_type": str})
    pools, types = annotation()
    assert obs["donor_id"].tolist() == pools and obs["batch"].astype(str).tolist() == pools
    assert obs["cell_type"].tolist() == ["" if t in ("unID", "doublet") else t for t in types]
    assert obs["source:oupSample.cellType"].tolist() == list(types)
    assert set(obs["source:oupSample.batchCond"]) == {"AD", "ct"}
    assert set(obs["region"]) == {"entorhinal cortex"}
    # Of two people in one pool nothing is known that would hold for the pool.
    assert set(obs["sex"]) == {"unknown"} and obs["age_death"].isna().all()
    for field in ("braak", "thal", "cerad", "adnc", "cognition"):
        assert set(obs[field]) == {-1}, field
    classes = dict(zip(obs["cell_type"], obs["cell_class"], strict=True))
    assert classes == {
        "astro": "glia",
        "oligo": "glia",
        "OPC": "glia",
        "mg": "immune",
        "endo": "vascular",
        "neuron": "other",
        "": "other",
    }


@pytest.mark.parametrize("limit", [1, 130, 5000, 1 << 20])
def test_counts_in_pieces_of_any_size(folder, tmp_path, limit):
    found = read(folder)
    counts = layouts.read_counts(found.counts, tmp_path / "s", limit)
    assert (counts != written_counts()).nnz == 0
    assert found.genes["symbol"].tolist() == list(layouts.GENES)


def test_pools_are_told_to_be_two_people(folder):
    (sentence,) = read(folder).warnings
    assert "AD1_AD2" in sentence and "two people" in sentence


def test_a_pool_named_with_a_hyphen(folder):
    for name in (COUNTS, CELLS):
        rewrite(folder / name, lambda text: text.replace("_AD1_AD2", "_AD1-AD2"))
    assert "AD1_AD2" in set(read(folder).obs["donor_id"])


def test_the_whole_step(folder, tmp_path):
    out = tmp_path / "out"
    preprocess(folder, out, cohort="made", settings=SETTINGS, training=True)
    cohort = read_cohort(out / "cohort.h5ad")
    assert cohort.n_obs == len(POOLS) * PER_POOL - len(UNTYPED)
    assert any(
        "two people" in sentence for sentence in cohort_facts(out / "cohort.h5ad")["warnings"]
    )
    assert cohort.obs.groupby("donor_id")["split"].nunique().max() == 1
    qc = pd.read_csv(out / "qc.tsv", sep="\t").set_index("filter")
    assert qc.loc["doublet", "removed"] == 2 and qc.loc["no_cell_type", "removed"] == 1
    place = [int(name[4:10]) for name in cohort.obs["cell_id"]]
    columns = [list(layouts.GENES).index(symbol) for symbol in cohort.var["symbol"]]
    assert (written_counts()[place][:, columns] != cohort.X).nnz == 0


def test_cells_without_a_row_are_left_out(folder):
    rewrite(folder / CELLS, lambda text: "\n".join(text.splitlines()[:-4]) + "\n")
    assert read(folder).excluded["no_cell_type"].sum() >= 4


def test_a_donor_column_of_ones_own(folder):
    rewrite(folder / CELLS, lambda text: text.replace("oupSample.batchCond", "who", 1))
    with pytest.raises(ScswError, match=r"no column oupSample\.batchCond"):
        read(folder)
    rewrite(folder / CELLS, lambda text: text.replace("who", "oupSample.batchCond", 1))
    found = read(folder, columns={"donor_id": "oupSample.batchCond"})
    assert set(found.obs["donor_id"]) == {"AD", "ct"} and not found.warnings


def on(name, edit):
    return lambda folder: rewrite(folder / name, edit)


def line(number, edit):
    def change(text):
        lines = text.splitlines()
        lines[number] = edit(lines[number])
        return "\n".join(lines) + "\n"

    return change


def set_value(value):
    return line(2, lambda text: text.rsplit(",", 1)[0] + f",{value}")


def truncated(folder):
    path = folder / COUNTS
    path.write_bytes(path.read_bytes()[:-200])


def not_text(folder):
    (folder / COUNTS).write_bytes(gzip.compress(b'"","a_AD1_AD2"\n"\xff\xfe",3\n'))


MALFORMED = [
    (on(COUNTS, set_value("0.5")), "not whole numbers"),
    (on(COUNTS, set_value("-2")), "negative values"),
    (on(COUNTS, set_value("NA")), "could not convert string 'NA'"),
    (on(COUNTS, set_value("many")), "cannot be read as a table of genes × cells"),
    (on(COUNTS, line(4, lambda text: text + ",3")), "line 5 holds 109 values for 108 cells"),
    (on(COUNTS, line(0, lambda text: text.split(",", 1)[1])), "line 2 holds 108 values for 107"),
    (on(COUNTS, lambda text: text.replace(",", ";")), "its first line names no cells"),
    (on(COUNTS, lambda text: text.splitlines()[0] + "\n"), "it holds no genes"),
    (on(COUNTS, lambda text: ""), "its first line names no cells"),
    (on(COUNTS, line(3, lambda text: "," + text.split(",", 1)[1])), "neither symbol nor id"),
    (truncated, "cannot be read as a table of genes × cells"),
    (not_text, "cannot be read as a table of genes × cells: .*utf-8"),
    (on(CELLS, lambda text: text.replace("ACGT", "TGCA")), "names none of the 108 cells"),
    (on(CELLS, lambda text: text + text.splitlines()[1] + "\n"), "more than once"),
    (on(CELLS, lambda text: text.replace(",", "\t")), "no column oupSample.batchCond"),
    (on(CELLS, lambda text: text.replace("cellType", "kind")), "no column for cell_type"),
    (lambda folder: (folder / CELLS).unlink(), "covariates.csv.gz does not exist"),
    (
        lambda folder: [rewrite(folder / n, lambda t: t.replace("_AD", "_a").replace("_Ct", "_c"))
                        for n in (COUNTS, CELLS)],
        "no cell of .* names its pool",
    ),
]  # fmt: skip


@pytest.mark.parametrize("damage, message", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed(folder, tmp_path, damage, message):
    damage(folder)
    out = tmp_path / "out"
    with pytest.raises(ScswError, match=message):
        preprocess(folder, out, cohort="made", source="grubman_2019", settings=SETTINGS)
    assert not out.exists() or not list(out.iterdir())


def test_counts_larger_than_a_piece_keep_their_genes(folder, tmp_path):
    """One gene at a time: the number of a gene must go on from piece to piece."""
    counts = read(folder).counts
    seen = [gene for _, gene, _ in counts.entries(1)]
    assert len(seen) == len(layouts.GENES)
    assert [int(part[0]) for part in seen] == list(range(len(layouts.GENES)))
    assert all(len(np.unique(part)) == 1 for part in seen)


@pytest.mark.parametrize("text, value", [("0.5", 0.5), ("1e+05", 1e5), ("nan", np.nan), ("7.0", 7)])
def test_other_numbers_reach_the_check_of_counts_unchanged(folder, text, value):
    rewrite(folder / COUNTS, set_value(text))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # users do not see what numpy deprecates
        (_, _, values), *_ = read(folder).counts.entries(1 << 20)
    gene = (written_counts().toarray().T[:2] > 0).sum() - 1  # the last value of the second gene
    np.testing.assert_array_equal(values[gene], value)
