import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from scsw.cohort.genes import gene_frame, symbol_by_ensembl_id, without_version
from scsw.cohort.vocabulary import (
    SPECIALS,
    census_file,
    check_coverage,
    coverage,
    match_genes,
    parse_vocabulary,
    vocabulary_bytes,
)
from scsw.errors import ScswError
from scsw.resources import resource


def test_gene_table():
    table = symbol_by_ensembl_id()
    assert len(table) == 78_894
    assert table["ENSG00000142192"] == "APP"


def test_ensembl_versions_are_stripped_and_symbols_are_not():
    ids = pd.Series(
        ["ENSG00000142192.22", "ENSG00000142192", "ENSG00000182378.15_PAR_Y", "RP11-1.2"]
    )
    assert without_version(ids).tolist() == [
        "ENSG00000142192",
        "ENSG00000142192",
        "ENSG00000182378",
        "RP11-1.2",
    ]


def test_symbols_from_the_source_the_table_or_the_id():
    genes = gene_frame(
        pd.Series(["amyloid", "", ""]),
        pd.Series(["ENSG00000142192.3", "ENSG00000130203", "ENSG00000999999"]),
        "var",
    )
    assert genes["symbol"].tolist() == ["amyloid", "APOE", "ENSG00000999999"]
    assert genes["from_table"].tolist() == [False, True, False]
    with pytest.raises(ScswError, match="1 genes of var have neither"):
        gene_frame(pd.Series(["A", ""]), None, "var")


def test_a_missing_resource_is_named():
    with pytest.raises(ScswError, match=r"nothing\.csv that scsw ships is missing"):
        resource("nothing.csv")


def test_census_vocabulary_has_the_special_tokens_last():
    vocabulary = parse_vocabulary(vocabulary_bytes("census", None, []), "census")
    assert len(vocabulary) == 60_697
    assert [vocabulary[name] for name in SPECIALS] == [60_694, 60_695, 60_696]
    listed = json.loads(census_file().read_text())
    assert all(vocabulary[name] == number for name, number in listed.items())


def test_finding_the_census_list_does_not_import_scgpt():
    code = (
        "import sys; from scsw.cohort.vocabulary import census_file; census_file(); "
        "sys.exit(any(name in sys.modules for name in ('scgpt', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_cohort_vocabulary_is_special_tokens_then_sorted_genes():
    vocabulary = parse_vocabulary(vocabulary_bytes("cohort", None, pd.Series(["B", "A"])), "c")
    assert vocabulary == {"<pad>": 0, "<cls>": 1, "<eoc>": 2, "A": 3, "B": 4}


def test_checkpoint_vocabulary_is_taken_byte_for_byte(tmp_path):
    content = b'{"A":7,  "<pad>":0,"<cls>":1,"<eoc>":2}'
    (tmp_path / "vocab.json").write_bytes(content)
    assert vocabulary_bytes("checkpoint", str(tmp_path), []) == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b'["A"]', "not a table of tokens"),
        (b'{"A": 1, "B": 1}', "not a table of tokens"),
        (b'{"A": "1"}', "not a table of tokens"),
        (b'{"A": 1, "<pad>": 0}', "lacks <cls>, <eoc>"),
    ],
)
def test_broken_vocabularies(content, message):
    with pytest.raises(ScswError, match=message):
        parse_vocabulary(content, "v")


def test_matching_order_and_coverage():
    vocabulary = {name: i for i, name in enumerate([*SPECIALS, "APP", "APOE", "TAU"])}
    genes = pd.DataFrame(
        {
            # APP by symbol; a former name of APOE by id; one unknown; APP's twin by id.
            "symbol": ["APP", "AD2", "NOVEL", "APP-1"],
            "ensembl_id": ["", "ENSG00000130203", "ENSG00000999999", "ENSG00000142192"],
            "from_table": False,
        }
    )
    matched = match_genes(genes, vocabulary)
    assert matched["matched_by"].tolist() == ["symbol", "ensembl_id", "unmatched", "ensembl_id"]
    assert matched["token"].tolist() == ["APP", "APOE", "", "APP"]
    assert matched["token_id"].tolist() == [3, 4, -1, 3]

    table = coverage(matched, np.array([10, 20, 60, 10])).set_index("matched_by")
    assert table.index.tolist() == ["symbol", "ensembl_id", "alias", "unmatched", "total"]
    assert table["genes"].tolist() == [1, 2, 0, 1, 4]
    assert table["counts"].tolist() == [10, 30, 0, 60, 100]
    assert table["gene_share"].tolist() == [0.25, 0.5, 0, 0.25, 1]
    assert table["count_share"].tolist() == pytest.approx([0.1, 0.3, 0, 0.6, 1])

    check_coverage(table.reset_index(), 0.4, "census")
    with pytest.raises(ScswError, match=r"40\.0% of the counts.*at least 41\.0%"):
        check_coverage(table.reset_index(), 0.41, "census")


def test_a_symbol_that_the_gene_table_gave_is_a_match_by_ensembl_id():
    genes = gene_frame(None, pd.Series(["ENSG00000142192"]), "var")
    matched = match_genes(genes, {"APP": 5})
    assert matched["matched_by"].tolist() == ["ensembl_id"]


def test_nothing_matched_is_refused_even_when_no_share_is_asked_for():
    genes = gene_frame(pd.Series(["X1"]), None, "var")
    table = coverage(match_genes(genes, {"APP": 5}), np.array([10]))
    with pytest.raises(ScswError, match=r"0\.0% of the counts"):
        check_coverage(table, 0.0, "census")
