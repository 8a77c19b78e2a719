"""Tables in text files."""

import gzip

import pytest

from scsw.cohort.cell_labels import label_columns
from scsw.cohort.text_table import header, need_columns, read_text_table
from scsw.errors import ScswError

CSV = "projid,msex,note\n00090100,0,NA\n00090111,1,\n"


def written(folder, name, text):
    path = folder / name
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_every_column_is_text_as_it_stands(tmp_path, name):
    table = read_text_table(written(tmp_path, name, CSV))
    assert table["projid"].tolist() == ["00090100", "00090111"]
    assert table["note"].tolist() == ["NA", ""]
    assert set(table.dtypes.astype(str)) == {"object"}


@pytest.mark.parametrize(
    ("name", "separator", "given"),
    [
        ("t.tsv", "\t", None),
        ("t.txt", "\t", None),
        ("t.txt.gz", "\t", None),
        ("t.csv", ",", None),
        ("t.data", ",", None),
        ("t.csv", ";", ";"),
    ],
)
def test_the_separator_follows_the_name_or_is_given(tmp_path, name, separator, given):
    path = written(tmp_path, name, CSV.replace(",", separator))
    assert read_text_table(path, given).columns.tolist() == ["projid", "msex", "note"]


def test_only_some_columns_and_their_texts_are_coded(tmp_path):
    path = written(tmp_path, "t.csv", CSV)
    table = read_text_table(path, columns=["note", "projid", "absent"])
    assert sorted(table.columns) == ["note", "projid"]
    assert (table.dtypes == "category").all()
    assert table["projid"].tolist() == ["00090100", "00090111"]
    assert table["note"].tolist() == ["NA", ""]


def test_none_of_the_columns_asked_for(tmp_path):
    assert read_text_table(written(tmp_path, "t.csv", CSV), columns=["x"]).shape[1] == 0


def test_quotes_byte_order_marks_and_carriage_returns(tmp_path):
    text = '\ufeff"projid","a, b"\r\n"1","x, y"\r\n'
    path = written(tmp_path, "t.csv", text)
    for columns in (None, ["projid", "a, b"]):
        table = read_text_table(path, columns=columns)
        assert sorted(table.columns) == ["a, b", "projid"]
        assert table["a, b"].tolist() == ["x, y"]
    assert header(path, ",") == ["projid", "a, b"]


def test_an_unnamed_first_column(tmp_path):
    """As R's write.csv leaves it."""
    table = read_text_table(written(tmp_path, "t.csv", '"","kind"\n"c1","A"\n"c2","B"\n'))
    assert table["kind"].tolist() == ["A", "B"]
    assert table.iloc[:, 0].tolist() == ["c1", "c2"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b"a,b\n\xff\xfe,1\n"),
        ("t.csv", CSV.encode("utf-16")),
        ("t.csv", b""),
        ("t.csv.gz", b"a,b\n\xff\xfe,1\n"),
    ],
)
@pytest.mark.parametrize("columns", [None, ["a"]])
def test_no_table_of_utf8_text(tmp_path, name, content, columns):
    path = written(tmp_path, name, content)
    message = r"t\.csv(\.gz)? cannot be read as a table: .*UTF-8 text with columns separated by com"
    with pytest.raises(ScswError, match=message):
        read_text_table(path, columns=columns)


def test_a_workbook_is_to_be_saved_as_text(tmp_path):
    path = written(tmp_path, "sea-ad_cohort_donor_metadata.xlsx", b"PK\x03\x04\x14\x00\xff\xfe")
    with pytest.raises(ScswError, match=r"cannot be read as a table.*save its sheet as CSV"):
        read_text_table(path)
    with pytest.raises(ScswError, match=r"cannot be read as a table.*save its sheet as CSV"):
        label_columns(path)


def test_rows_of_different_lengths(tmp_path):
    path = written(tmp_path, "t.csv", "a,b\n1,2\n3,4,5\n")
    with pytest.raises(ScswError, match=r"cannot be read as a table.*Expected 2 fields.*saw 3"):
        read_text_table(path)


@pytest.mark.parametrize("cut", [5, 20, 40])
def test_a_damaged_gzip_file(tmp_path, cut):
    path = written(tmp_path, "t.csv.gz", "a,b\n" + "".join(f"{n},{n * n}\n" for n in range(2000)))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ScswError, match="cannot be read as a table"):
        read_text_table(path)
    path.write_bytes(b"not gzip, but text\n")
    with pytest.raises(ScswError, match="cannot be read as a table"):
        read_text_table(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(ScswError, match="does not exist"):
        read_text_table(tmp_path / "none.csv")


def test_needed_columns(tmp_path):
    path = written(tmp_path, "t.csv", CSV)
    table = read_text_table(path)
    need_columns(table, ["projid", "msex"], path, "a table")
    with pytest.raises(ScswError, match=r"has no column cogdx; its columns are projid, msex, note"):
        need_columns(table, ["projid", "cogdx"], path, "the clinical table")
    other = read_text_table(written(tmp_path, "s.csv", CSV.replace(",", ";")))
    with pytest.raises(ScswError, match="which character separates"):
        need_columns(other, ["projid"], path, "the clinical table")
