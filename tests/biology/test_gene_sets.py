import hashlib
from pathlib import Path

import pytest

from scsw.biology.gene_sets import find_gmt, read_gmt, read_libraries, within_background
from scsw.errors import ScswError

ROOT = Path(__file__).parents[2]
SHIPPED = {"hallmark": 50, "reactome": 1615, "wikipathways": 664}


def test_sets_keep_their_genes_once_and_in_order(tmp_path):
    path = tmp_path / "a.gmt"
    path.write_text("S1\tabout\tB\tA\tB\t\n\nS2\t\tC1orf112\n")
    assert read_gmt(path) == {"S1": ["B", "A"], "S2": ["C1orf112"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no gene set"),
        ("S1\tabout\tA\nS2\tabout\n", "line 2 .* no genes"),
        ("S1,about,A\n", "line 1 .* no genes"),
        ("\tabout\tA\n", "line 1 .* no set name"),
        ("S1\ta\tA\nS1\ta\tB\n", "line 2 .* repeats the set S1"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, text, said):
    path = tmp_path / "bad.gmt"
    path.write_text(text)
    with pytest.raises(ScswError, match=said) as error:
        read_gmt(path)
    assert str(path) in str(error.value)


def test_a_binary_or_missing_file_is_refused(tmp_path):
    path = tmp_path / "binary.gmt"
    path.write_bytes(b"\xff\xfe\x00S1")
    with pytest.raises(ScswError, match="cannot be read as a GMT"):
        read_gmt(path)
    with pytest.raises(ScswError, match="does not exist"):
        read_libraries([tmp_path / "none.gmt"])


def test_two_files_may_not_give_one_library_name(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.gmt").write_text("S\tabout\tA\n")
    with pytest.raises(ScswError, match="two gene-set files are named x"):
        read_libraries([tmp_path / "a" / "x.gmt", tmp_path / "b" / "x.gmt"])


def test_one_file_given_twice_is_read_once(tmp_path, monkeypatch):
    (tmp_path / "x.gmt").write_text("S\tabout\tA\n")
    monkeypatch.chdir(tmp_path)
    assert read_libraries(["x.gmt", tmp_path / "x.gmt"]) == {"x": {"S": ["A"]}}


def test_sets_are_cut_to_the_background_and_to_a_testable_size():
    library = {"whole": list("ABCD"), "two": list("BXA"), "one": ["A", "Y"], "none": ["Z"]}
    kept = within_background(library, list("ABCD"), min_size=2, max_size=4)
    assert kept == {"two": ["A", "B"]}
    assert within_background(library, [], min_size=1, max_size=4) == {}


@pytest.mark.parametrize(("name", "n_sets"), SHIPPED.items())
def test_the_shipped_libraries_are_whole_and_their_origin_is_told(
    name, n_sets, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)  # found from any working directory
    path = find_gmt(f"resources/gene_sets/{name}.gmt")
    assert len(read_gmt(path)) == n_sets
    row = next(
        line
        for line in (ROOT / "resources" / "README.md").read_text().splitlines()
        if f"gene_sets/{name}.gmt" in line
    )
    assert hashlib.sha256(path.read_bytes()).hexdigest() in row
    assert "CC BY 4.0" in row
