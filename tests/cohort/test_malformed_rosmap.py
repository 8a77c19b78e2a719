"""Each broken folder of Mathys 2019 ends in one message that helps, and leaves nothing."""

import gzip

import pandas as pd
import pytest
from scipy import io, sparse

from tests.cohort.malformed import CELLS, MTX, ROSMAP, Case, check_refusal, truncate


def transposed_mtx(folder):
    matrix = io.mmread(folder / "filtered_count_matrix.mtx")
    io.mmwrite(folder / "filtered_count_matrix.mtx", sparse.coo_matrix(matrix.T))


def log_mtx(folder):
    matrix = sparse.csr_matrix(io.mmread(folder / "filtered_count_matrix.mtx")).log1p()
    io.mmwrite(folder / "filtered_count_matrix.mtx", sparse.coo_matrix(matrix))


def edit_table(name, separator, change):
    def damage(folder):
        table = pd.read_csv(folder / name, sep=separator, dtype=str, keep_default_na=False)
        change(table).to_csv(folder / name, sep=separator, index=False)

    return damage


def edit_clinical(change):
    return edit_table("ROSMAP_clinical.csv", ",", change)


def edit_cells(change):
    return edit_table("filtered_column_metadata.txt", "\t", change)


def rewrite(name, old, new):
    def damage(folder):
        file = folder / name
        file.write_text(file.read_text().replace(old, new))

    return damage


def remove(name):
    return lambda folder: (folder / name).unlink()


def latin(name):
    """Put a letter into a text file that is no UTF-8."""

    def damage(folder):
        file = folder / name
        file.write_bytes(file.read_bytes().replace(b"Ast", b"\xc4st").replace(b"34", b"\xe434")
                         .replace(b"APP", b"\xc4PP"))  # fmt: skip

    return damage


def edit_matrix(change):
    def damage(folder):
        lines = (folder / MTX).read_text().splitlines()
        (folder / MTX).write_text("\n".join(change(lines)) + "\n")

    return damage


def last_entry(**changes):
    """Change the row, the column or the value of the last entry."""

    def change(lines):
        entry = dict(zip(("row", "column", "value"), lines[-1].split(), strict=True))
        return [*lines[:-1], " ".join(map(str, (entry | changes).values()))]

    return edit_matrix(change)


def packed(change):
    """Gzip the matrix, then damage it."""

    def damage(folder):
        content = gzip.compress((folder / MTX).read_bytes())
        (folder / f"{MTX}.gz").write_bytes(change(content))
        (folder / MTX).unlink()

    return damage


CASES = [
    Case("not a folder", ROSMAP, "does not exist", options={"path": "nowhere"}),
    Case("no matrix", ROSMAP, "does not exist", damage=remove(MTX)),
    Case("no clinical", ROSMAP, "ROSMAP_clinical.csv does not exist", damage=remove(
        "ROSMAP_clinical.csv")),
    Case("transposed matrix", ROSMAP, "the wrong way round", damage=transposed_mtx),
    Case("log matrix", ROSMAP, "not whole numbers.*not a normalised one", damage=log_mtx),
    Case("no matrix market", ROSMAP, "cannot be read as a Matrix Market", damage=lambda f: (
        f / MTX).write_text("1 2 3\n")),
    Case("truncated matrix", ROSMAP, "cannot be read as a Matrix Market", damage=lambda f: (
        truncate(f / MTX))),
    Case("wrong separator", ROSMAP,
         "no column TAG; its columns are TAG,projid.*a tab-separated table.*separates its columns",
         damage=rewrite(CELLS, "\t", ",")),
    Case(
        "clinical separator",
        ROSMAP,
        "no column projid; its columns are projid;Study.*comma-separated.*separates its columns",
        damage=rewrite("ROSMAP_clinical.csv", ",", ";"),
    ),
    Case(
        "clinical rows missing",
        ROSMAP,
        "2 of 8 donors have no row in .*such as 00090155, 00090166.*--clinical",
        damage=edit_clinical(lambda t: t.drop(index=[5, 6])),
    ),
    Case(
        "duplicated projid",
        ROSMAP,
        "projid 00090100 occurs more than once",
        damage=edit_clinical(lambda t: pd.concat([t, t.iloc[:1]])),
    ),
    Case(
        "projid no number",
        ROSMAP,
        "'projid' holds 'X1'",
        damage=edit_clinical(lambda t: t.assign(projid=["X1", *t["projid"][1:]])),
    ),
    Case(
        "MSBB's CERAD",
        ROSMAP,
        "'ceradsc' holds '5'",
        damage=edit_clinical(lambda t: t.assign(ceradsc="5")),
    ),
    Case(
        "no label column",
        ROSMAP,
        "no column for cell_type",
        damage=edit_cells(lambda t: t.drop(columns="broad.cell.type")),
    ),
    Case("metadata too short", ROSMAP, "belong to different files or one is incomplete",
         damage=edit_cells(lambda t: t.iloc[:-3])),
    Case("gene names too short", ROSMAP, "96 cells and 19 genes",
         damage=rewrite("filtered_gene_row_names.txt", "MT-CO1\n", "")),
    Case("matrix index out of range", ROSMAP, "a column 97 where there are 96.*download",
         damage=last_entry(column=97)),
    Case("matrix index from zero", ROSMAP, "a row 0 where there are 20",
         damage=last_entry(row=0)),
    Case("negative count", ROSMAP, "negative values, such as -3", damage=last_entry(value=-3)),
    Case("missing count", ROSMAP, "missing or infinite", damage=last_entry(value="nan")),
    Case("count of text", ROSMAP, "cannot be read as a Matrix Market.*many",
         damage=last_entry(value="many")),
    Case("too few values", ROSMAP, r"it holds \d+ of \d+ values",
         damage=edit_matrix(lambda lines: lines[:-4])),
    Case("too many values", ROSMAP, r"it holds \d+ of \d+ values",
         damage=edit_matrix(lambda lines: [*lines, "1 1 1"])),
    Case("symmetric matrix", ROSMAP, "it is symmetric, not general",
         damage=rewrite(MTX, "general", "symmetric")),
    Case("damaged gzip", ROSMAP, "mtx.gz cannot be read as a Matrix Market.*download",
         damage=packed(lambda b: b[: len(b) // 2])),
    Case("no gzip", ROSMAP, "mtx.gz cannot be read as a Matrix Market.*gzip",
         damage=packed(gzip.decompress)),
    Case("metadata no UTF-8", ROSMAP, f"{CELLS} cannot be read as a table.*utf-8",
         damage=latin(CELLS)),
    Case("clinical no UTF-8", ROSMAP, "ROSMAP_clinical.csv cannot be read as a table.*utf-8",
         damage=latin("ROSMAP_clinical.csv")),
    Case("gene names no UTF-8", ROSMAP, "filtered_gene_row_names.txt is no UTF-8 text",
         damage=latin("filtered_gene_row_names.txt")),
    Case("no barcodes", ROSMAP, "no column TAG; its columns are projid",
         damage=edit_cells(lambda t: t.drop(columns="TAG"))),
    Case("empty clinical table", ROSMAP, "ROSMAP_clinical.csv cannot be read as a table",
         damage=lambda f: (f / "ROSMAP_clinical.csv").write_text("")),
    Case("mixed codings of Braak", ROSMAP, "'braaksc' holds 'stage five'.*0 to 6",
         damage=edit_clinical(lambda t: t.assign(braaksc=["stage five", *t["braaksc"][1:]]))),
    Case("no donor known", ROSMAP, "no donor id for any",
         damage=edit_cells(lambda t: t.assign(projid=""))),
    Case("Ensembl table", ROSMAP, "not an Ensembl id, a tab and a symbol",
         damage=rewrite("notfiltered_gene_row_names.txt", "\t", " ")),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.layout}: {case.name}")
def test_message_helps_and_nothing_stays(case, tmp_path):
    check_refusal(case, tmp_path)
