import csv
import gzip
import hashlib
import re
import runpy
from pathlib import Path

import pandas as pd
import pytest

from scsw.cohort.genes import (
    ensembl_id_by_symbol,
    former_symbol_by_ensembl_id,
    gene_by_name,
    gene_frame,
    genes_named,
    symbol_by_ensembl_id,
)
from scsw.errors import ScswError
from scsw.resources import resource

RESOURCES = Path(__file__).parents[2] / "resources"


def builder():
    """The functions of the script that built the tables of names."""
    return runpy.run_path(str(RESOURCES / "make_gene_aliases.py"))


def aliases():
    with gzip.open(resource("gene_aliases.csv.gz"), "rt", encoding="utf-8", newline="") as lines:
        return pd.DataFrame(csv.DictReader(lines))


def test_alias_table_is_safe():
    table = aliases()
    assert table["kind"].value_counts().to_dict() == {"alias": 40_455, "previous": 15_124}
    assert table["alias"].is_unique
    assert table["alias"].is_monotonic_increasing
    # No name of a gene is the symbol of another, so one step leads to today's symbol.
    assert not table["alias"].isin(set(table["symbol"])).any()
    assert not table["alias"].isin(set(symbol_by_ensembl_id().values())).any()


def test_former_symbols_are_one_genes_and_no_genes_today():
    symbols = list(former_symbol_by_ensembl_id().values())
    assert len(symbols) == len(set(symbols)) == 20_725
    assert set(symbols).isdisjoint(symbol_by_ensembl_id().values())
    assert former_symbol_by_ensembl_id()["ENSG00000000460"] == "C1orf112"


def test_tables_of_names_are_those_of_the_readme():
    readme = (RESOURCES / "README.md").read_text(encoding="utf-8")
    for name in ("gene_aliases.csv.gz", "former_symbols.csv.gz"):
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{name}`"))
        assert re.findall(r"`([0-9a-f]{64})`", row) == [
            hashlib.sha256(resource(name).read_bytes()).hexdigest()
        ]


@pytest.mark.parametrize(
    ("name", "symbol", "kind"),
    [
        ("SEPT7", "SEPTIN7", "previous"),
        ("MARCH1", "MARCHF1", "previous"),
        ("MARC1", "MTARC1", "previous"),
        ("C10orf54", "VSIR", "previous"),
        ("FAM129A", "NIBAN1", "previous"),
        ("KIAA1107", "BTBD8", "previous"),
        ("H1F0", "H1-0", "previous"),
        ("HIST1H4C", "H4C3", "previous"),
        ("GARS", "GARS1", "previous"),
        ("WARS", "WARS1", "previous"),
        # HGNC's symbol of 2024, renamed before GENCODE 48.
        ("ADAL", "MAPDA", "previous"),
        # Withdrawn by HGNC, with a successor.
        ("A2MR", "LRP1", "previous"),
        # A previous symbol of GPAT3, an alias of LPCAT1.
        ("AGPAT9", "GPAT3", "previous"),
        ("VISTA", "VSIR", "alias"),
        ("VSIR", "VSIR", "symbol"),
        # An alias of GARS1, but another gene's symbol.
        ("SMAD1", "SMAD1", "symbol"),
        # A previous symbol of two genes, EPRS1 and QARS1.
        ("QARS", "", ""),
        # HGNC merged it into TRAF3IP2-AS1, Ensembl keeps both.
        ("C6orf3", "", ""),
        ("RP11-139H14.4", "", ""),
        # A gene of the mouse.
        ("App", "", ""),
        ("C1ORF112", "FIRRM", "previous"),
        ("RNASEK-C17ORF49", "RNASEK-C17orf49", "symbol"),
        ("", "", ""),
    ],
)
def test_what_a_name_means(name, symbol, kind):
    found = genes_named(pd.Series([name], index=[7]))
    assert found.to_dict("index") == {7: {"symbol": symbol, "kind": kind}}


def test_only_orf_genes_and_families_of_small_rnas_are_in_mixed_case():
    """Else more names than theirs would have to be found when a file is all upper-case."""
    mixed = {s for s, kind in gene_by_name().values() if kind == "symbol" and s != s.upper()}
    others = {symbol for symbol in mixed if not re.search(r"\bC(\d+|X|Y)orf\d", symbol)}
    assert len(mixed - others) > 200
    families = {s for s in others if not s.startswith("hsa-mir-")}
    assert families == {"5S_rRNA", "5_8S_rRNA", "Metazoa_SRP", "Vault", "snoZ196"}


def test_symbols_of_several_ids_name_no_single_id():
    ids = ensembl_id_by_symbol()
    assert ids["APP"] == "ENSG00000142192"
    assert "Y_RNA" not in ids


def test_rules_of_the_alias_table():
    rows = [
        ("1", "NEW", "", "Approved", "OLD, BOTH, WAS", "PROTEIN, SHARED, OTHER", "ENSG1"),
        ("2", "OTHER", "", "Approved", "BOTH", "SHARED, WAS, WITH,COMMA", "ENSG2"),
        ("3", "GONE", "symbol withdrawn, see [HGNC:4](/x/HGNC:4)", "Symbol Withdrawn", "", "", ""),
        ("4", "TOO", "symbol withdrawn, see [HGNC:1](/x/HGNC:1)", "Symbol Withdrawn", "", "", ""),
        ("5", "SPLIT", "see [HGNC:1](/x) and [HGNC:2](/x)", "Symbol Withdrawn", "", "", ""),
        ("6", "LOST", "entry withdrawn", "Entry Withdrawn", "", "", ""),
        ("7", "HGNC7", "", "Approved", "APART, SAME", "LOST, RP11-1A2.3, AC000001.2", "ENSG7"),
    ]
    columns = ["id", "symbol", "name", "status", "previous", "alias", "ensembl_id"]
    entries = pd.DataFrame(rows, columns=columns)
    entries["id"] = "HGNC:" + entries["id"]
    gene_table = {"ENSG1": "NEW", "ENSG2": "OTHER", "ENSG7": "GENCODE7", "ENSG8": "EIGHT"}
    former = {"ENSG8": "APART", "ENSG7": "SAME", "ENSG2": "OTHER"}
    table = builder()["alias_table"](entries.set_index("id"), gene_table, former)
    assert list(table.itertuples(index=False, name=None)) == [
        ("GONE", "NEW", "previous"),
        ("HGNC7", "GENCODE7", "previous"),
        ("OLD", "NEW", "previous"),
        ("PROTEIN", "NEW", "alias"),
        ("SAME", "GENCODE7", "previous"),
        ("TOO", "NEW", "previous"),
        ("WAS", "NEW", "previous"),
    ]


def test_rules_of_the_former_symbols():
    gene_table = {"ENSG1": "NEW", "ENSG2": "KEPT", "ENSG3": "THREE"}
    former = {"ENSG1": "OLD", "ENSG2": "KEPT", "ENSG3": "NEW", "ENSG4": "TWIN", "ENSG5": "TWIN"}
    table = builder()["former_symbols"](gene_table, former)
    assert table.to_numpy().tolist() == [["ENSG1", "OLD"]]


def test_dots_that_r_made_of_dashes():
    names = ["MT.ND1", "HLA.DRA", "AC245041.2", "H1.0", "APP", "RP11.34P13.7"]
    found = gene_frame(pd.Series(names), None, "var")["symbol"]
    assert found.tolist() == ["MT-ND1", "HLA-DRA", *names[2:]]


def test_genes_that_are_numbers_alone_are_refused():
    """As ``var_names`` are where a matrix was wrapped into an AnnData without its genes."""
    with pytest.raises(ScswError, match=r"names its genes by numbers alone.*var_names"):
        gene_frame(None, None, "var of x.h5ad")
