import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from scsw.cohort.genes import (
    ensembl_id_by_symbol,
    gene_frame,
    symbol_by_ensembl_id,
    without_version,
)
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

    counts = np.array([10, 20, 60, 10])
    table = coverage(matched, counts).set_index("matched_by")
    assert table.index.tolist() == ["symbol", "ensembl_id", "alias", "unmatched", "total"]
    assert table["genes"].tolist() == [1, 2, 0, 1, 4]
    assert table["counts"].tolist() == [10, 30, 0, 60, 100]
    assert table["gene_share"].tolist() == [0.25, 0.5, 0, 0.25, 1]
    assert table["count_share"].tolist() == pytest.approx([0.1, 0.3, 0, 0.6, 1])

    check_coverage(table.reset_index(), 0.4, "census", matched, counts)
    with pytest.raises(ScswError, match=r"40\.0% of the counts.*most counts.*at least 41\.0%"):
        check_coverage(table.reset_index(), 0.41, "census", matched, counts)


SEPTIN7 = "ENSG00000122545"


def matches(genes, tokens):
    """Match genes, given as (symbol, Ensembl id); returns (token, matched_by) of each."""
    frame = pd.DataFrame(genes, columns=["symbol", "ensembl_id"]).assign(from_table=False)
    matched = match_genes(frame, {token: i for i, token in enumerate(tokens)})
    assert matched["token_id"].tolist() == [
        tokens.index(token) if token else -1 for token in matched["token"]
    ]
    return list(zip(matched["token"], matched["matched_by"], strict=True))


@pytest.mark.parametrize(
    ("gene", "token"),
    [
        (("SEPT7", ""), "SEPTIN7"),
        (("SEPTIN7", ""), "SEPT7"),
        # Both names are former ones.
        (("CDC10", ""), "SEPT7"),
        (("SEPTIN7", SEPTIN7), "SEPT7"),
        # An id that Ensembl has retired does not say which gene it is.
        (("SEPT7", "ENSG00000999999"), "SEPTIN7"),
        # A name that no table knows, with an id.
        (("anything", SEPTIN7), "SEPT7"),
        (("C10orf54", ""), "VSIR"),
        (("C10ORF54", ""), "VSIR"),
        (("VSIR", ""), "C10ORF54"),
        (("VISTA", ""), "VSIR"),
        (("C2ORF49", ""), "C2orf49"),
        # Names of one Ensembl id in GENCODE 48 and 38; in the census list with and without it.
        (("CYB561D2", ""), "CYB561D2_ENSG00000114395"),
        (("FIRRM", ""), "C1orf112"),
    ],
)
def test_alias_matches_in_both_directions(gene, token):
    assert matches([gene], ["APP", token]) == [(token, "alias")]


@pytest.mark.parametrize(
    ("gene", "tokens"),
    [
        # A previous symbol of two genes.
        (("QARS", ""), ["QARS1", "EPRS1"]),
        (("QARS1", ""), ["QARS"]),
        # An alias of GARS1, a symbol of its own.
        (("SMAD1", ""), ["GARS1"]),
        (("GARS1", ""), ["SMAD1"]),
        # The Ensembl id says that it is APOE, and APOE is not in the vocabulary.
        (("SEPT7", "ENSG00000130203"), ["SEPTIN7"]),
        # A gene of the mouse, and a name of nothing.
        (("App", ""), ["APP"]),
        (("", ""), ["APP"]),
        # Several genes have the symbol, so no id does.
        (("Y_RNA", ""), ["Y_RNA_ENSG00000223254"]),
    ],
)
def test_what_no_alias_may_match(gene, tokens):
    assert matches([gene], tokens) == [("", "unmatched")]


@pytest.mark.parametrize("tokens", [["SEPT7A", "SEPT7"], ["SEPT7", "SEPT7A"]])
def test_of_several_names_the_better_kind_is_taken(tokens):
    assert matches([("SEPTIN7", "")], tokens) == [("SEPT7", "alias")]
    assert matches([("SEPT7A", "")], [*tokens, "SEPTIN7"]) == [("SEPT7A", "symbol")]


def test_a_symbol_in_the_vocabulary_is_never_matched_otherwise():
    assert matches([("SEPT7", SEPTIN7)], ["SEPTIN7", "SEPT7"]) == [("SEPT7", "symbol")]


@pytest.mark.parametrize("turn", [1, -1])
def test_two_names_of_one_gene_meet_in_one_token(turn):
    """As in a file put together from two annotations; preprocess adds their counts up."""
    by_symbol, by_alias = ("SEPTIN7", "symbol"), ("SEPTIN7", "alias")
    genes = [("SEPTIN7", ""), ("SEPT7", "")]
    assert matches(genes[::turn], ["SEPTIN7"]) == [by_symbol, by_alias][::turn]
    # Both under older names, of which the vocabulary holds a third.
    assert matches([("SEPTIN7", ""), ("SEPT7", "")], ["CDC10"]) == [("CDC10", "alias")] * 2
    # One Ensembl id under two symbols.
    genes = [("SEPT7", SEPTIN7), ("SEPTIN7", SEPTIN7)]
    assert matches(genes[::turn], ["SEPT7"]) == [("SEPT7", "symbol"), ("SEPT7", "alias")][::turn]


@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize(
    ("genes", "tokens", "first"),
    [
        # Two genes by their ids: one annotation does not name one gene twice.
        ([("SEPTIN7", SEPTIN7), ("SEPT7", "ENSG00000999999")], ["SEPTIN7"], "symbol"),
        ([("x", SEPTIN7), ("SEPT7", "ENSG00000999999")], ["SEPTIN7"], "ensembl_id"),
        # The same, and the vocabulary holds neither symbol: the one with today's id goes first.
        ([("x", SEPTIN7), ("CDC10", "ENSG00000999999")], ["SEPT7"], "alias"),
        # An alias is no proof that both are one gene.
        ([("VSIR", ""), ("VISTA", "")], ["VSIR"], "symbol"),
        ([("VSIR", ""), ("VISTA", "")], ["C10orf54"], "alias"),
        ([("VSIR", ""), ("C10orf54", "")], ["VISTA"], "alias"),
    ],
)
def test_an_alias_does_not_join_another_gene(genes, tokens, first, turn):
    expected = [(tokens[0], first), ("", "unmatched")]
    assert matches(genes[::turn], tokens) == expected[::turn]


def test_tokens_that_carry_the_ensembl_id_and_former_symbols():
    tokens = ["CSF2RA_ENSG00000198223", "ENSG00000280249.1", "C1orf112", "KIAA0100"]
    genes = [
        ("CSF2RA", "ENSG00000198223"),
        ("novel", "ENSG00000280249"),
        ("FIRRM", "ENSG00000000460"),
        ("KIAA0100", "ENSG00000007202"),
    ]
    ways = ["ensembl_id", "ensembl_id", "ensembl_id", "symbol"]
    assert matches(genes, tokens) == list(zip(tokens, ways, strict=True))
    # Named MALL since, which is another gene's symbol, too.
    clone = "RP11-1223D19.3"
    assert matches([("x", "ENSG00000282304")], ["MALL", clone]) == [(clone, "ensembl_id")]


def test_a_gene_named_by_id_alone_is_matched_by_alias():
    genes = gene_frame(None, pd.Series([SEPTIN7]), "var")
    assert match_genes(genes, {"SEPT7": 5})[["token", "matched_by"]].to_numpy().tolist() == [
        ["SEPT7", "alias"]
    ]


def test_coverage_counts_alias_matches():
    genes = gene_frame(pd.Series(["APP", "SEPT7", "NOVEL"]), None, "var")
    matched = match_genes(genes, {"APP": 0, "SEPTIN7": 1})
    table = coverage(matched, np.array([5, 3, 2])).set_index("matched_by")
    assert table.loc["alias"].tolist() == [1, pytest.approx(1 / 3), 3, pytest.approx(0.3)]
    assert table.loc["symbol", "genes"] == table.loc["unmatched", "genes"] == 1


def test_the_census_vocabulary_knows_genes_of_any_vintage():
    vocabulary = parse_vocabulary(vocabulary_bytes("census", None, []), "census")
    table = pd.Series(symbol_by_ensembl_id())

    by_id = match_genes(gene_frame(None, table.index, "var"), vocabulary)
    assert (by_id["matched_by"] == "ensembl_id").sum() == 59_844

    symbols = table.drop_duplicates()
    names = match_genes(gene_frame(symbols, None, "var"), vocabulary)
    ways = names["matched_by"].value_counts()
    assert ways["symbol"] == symbols.isin(vocabulary).sum() == 38_605
    # Whatever a name finds by alias, the one Ensembl id of that name finds too.
    sole = ensembl_id_by_symbol()
    aliases = names[names["matched_by"] == "alias"]
    assert len(aliases) > 19_000
    token_of_id = dict(zip(by_id["ensembl_id"], by_id["token"], strict=True))
    differ = [
        (name, token, token_of_id[sole[name]])
        for name, token in zip(aliases["symbol"], aliases["token"], strict=True)
        if name in sole and token_of_id[sole[name]] != token
    ]
    assert differ == []


def test_a_symbol_that_the_gene_table_gave_is_a_match_by_ensembl_id():
    genes = gene_frame(None, pd.Series(["ENSG00000142192"]), "var")
    matched = match_genes(genes, {"APP": 5})
    assert matched["matched_by"].tolist() == ["ensembl_id"]


def test_ids_among_symbols_are_found_by_id():
    genes = gene_frame(pd.Series(["GFAP", "ENSG00000142192.22", "ENSG00000290825"]), None, "var")
    matched = match_genes(genes, {"GFAP": 1, "APP": 5})
    assert matched["matched_by"].tolist() == ["symbol", "ensembl_id", "unmatched"]
    assert matched["token"].tolist()[:2] == ["GFAP", "APP"]


def test_nothing_matched_is_refused_even_when_no_share_is_asked_for():
    genes = gene_frame(pd.Series(["X1"]), None, "var")
    matched, counts = match_genes(genes, {"APP": 5}), np.array([10])
    with pytest.raises(ScswError, match=r"0\.0% of the counts.* most counts have X1\."):
        check_coverage(coverage(matched, counts), 0.0, "census", matched, counts)


@pytest.mark.parametrize("name", ["{}", "ENSG00000142192"])
def test_the_cohort_s_own_vocabulary_takes_human_genes(name):
    genes = gene_frame(pd.Series([name.format(g) for g in ("APP", "SEPT7")]), None, "var")
    matched = match_genes(genes, {name: i for i, name in enumerate(genes["symbol"])})
    counts = np.array([10, 10])
    check_coverage(coverage(matched, counts), 1.0, "cohort", matched, counts)


@pytest.mark.parametrize("name", ["GRCh38_{}", "{}_ENSG00000142192", "hg38-{}"])
def test_it_takes_no_mouse_and_no_names_that_no_table_knows(name):
    for symbols in (["App", "Mapt"], [name.format("APP"), name.format("MAPT")]):
        genes = gene_frame(pd.Series(symbols), None, "var")
        matched = match_genes(genes, {name: i for i, name in enumerate(symbols)})
        counts = np.array([10, 30])
        message = rf"0\.0% of the counts belong to human genes.*{symbols[1]}, {symbols[0]}\."
        with pytest.raises(ScswError, match=message):
            check_coverage(coverage(matched, counts), 0.6, "cohort", matched, counts)
