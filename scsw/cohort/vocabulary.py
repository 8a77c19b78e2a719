"""The gene vocabulary, and which of a cohort's genes it knows.

Vocabularies hold symbols of several vintages: of the 60,694 in scGPT's census list, which is
GENCODE 38's, 38,605 are symbols of GENCODE 48. A gene is matched

1. by its symbol;
2. by its Ensembl id: a token that carries the id (``VAMP7_ENSG00000124333``), else the symbol that
   the id had in GENCODE 38, else the one that it has in GENCODE 48;
3. by alias: a token and the symbol are names of one gene, in HGNC's previous symbols and aliases
   or by way of its Ensembl id. Either may be the older name (SEPT7, SEPTIN7). Names that two genes
   share are never used.

A wrong gene is worse than none: where the gene table knows the Ensembl id, steps 2 and 3 go by it
and not by the symbol; and see `match_genes` for two genes that reach one token.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from scsw.cohort.gene_tokens import joins_another_gene, tokens_of_aliases, tokens_of_ids
from scsw.cohort.genes import genes_named, symbol_by_ensembl_id
from scsw.errors import ScswError
from scsw.files import read_json, require

PAD, CLS, EOC = "<pad>", "<cls>", "<eoc>"
SPECIALS = (PAD, CLS, EOC)
MATCHED_BY = ("symbol", "ensembl_id", "alias")


def vocabulary_bytes(kind: str, checkpoint: str | None, symbols: Iterable[str]) -> bytes:
    """Return the contents of ``vocab.json``: token to id.

    Parameters
    ----------
    kind
        ``checkpoint`` (that file, byte for byte), ``census`` (the list in the scgpt package with
        the special tokens after it, as scGPT's whole-human model numbers them), or ``cohort``
        (special tokens, then `symbols` sorted).
    checkpoint
        scGPT folder, for ``checkpoint``.
    symbols
        Genes of the cohort, for ``cohort``.

    Raises
    ------
    ScswError
        If the vocabulary cannot be found, or is none.
    """
    if kind == "checkpoint":
        return _checkpoint_file(checkpoint).read_bytes()
    if kind == "census":
        tokens = read_json(census_file())
        first = max(tokens.values()) + 1
        vocabulary = tokens | {name: first + i for i, name in enumerate(SPECIALS)}
    elif kind == "cohort":
        vocabulary = {name: i for i, name in enumerate([*SPECIALS, *sorted(set(symbols))])}
    else:
        raise ScswError(
            f"the vocabulary {kind!r} is unknown", expected="checkpoint, census or cohort"
        )
    return (json.dumps(vocabulary, indent=2, ensure_ascii=False) + "\n").encode()


def parse_vocabulary(content: bytes, where: str) -> dict[str, int]:
    """Read a vocabulary and check it.

    Raises
    ------
    ScswError
        If it is not a table of tokens to distinct ids, or lacks a special token.
    """
    try:
        vocabulary = json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ScswError(f"the vocabulary of {where} is not JSON: {error}") from error
    is_table = isinstance(vocabulary, dict) and all(type(i) is int for i in vocabulary.values())
    if not is_table or len(set(vocabulary.values())) < len(vocabulary):
        raise ScswError(
            f"the vocabulary of {where} is not a table of tokens to ids",
            expected='JSON such as {"<pad>": 0, "APP": 1}, each id once',
        )
    absent = [name for name in SPECIALS if name not in vocabulary]
    if absent:
        raise ScswError(
            f"the vocabulary of {where} lacks {', '.join(absent)}",
            expected=f"the special tokens {', '.join(SPECIALS)}",
            fix="use the vocab.json of an scGPT checkpoint",
        )
    return vocabulary


def census_file() -> Path:
    """Find scGPT's list of genes without importing scgpt, which takes seconds.

    Raises
    ------
    ScswError
        If the package is not installed or lacks the list.
    """
    package = importlib.util.find_spec("scgpt")
    for folder in (package.submodule_search_locations or []) if package else []:
        path = Path(folder) / "tokenizer" / "default_census_vocab.json"
        if path.exists():
            return path
    raise ScswError(
        "the census vocabulary of the package scgpt is not installed",
        fix="install scgpt 0.2.4, or set preprocess.vocabulary to `cohort` or `checkpoint`",
    )


def match_genes(genes: pd.DataFrame, vocabulary: dict[str, int]) -> pd.DataFrame:
    """Find each gene in the vocabulary.

    Two genes may meet in one token, one by its symbol and one by its Ensembl id (read-through
    transcripts, names made unique with "-1"): their counts are to be added up. By alias a gene
    joins another only if they are one gene under two names, as in a file that was put together from
    two annotations: with one Ensembl id; or, where an id is lacking, with names that HGNC gave one
    gene in turn (an alias is too weak). It is left unmatched otherwise.

    Parameters
    ----------
    genes
        ``symbol, ensembl_id, from_table``. A symbol from the gene table is a match by Ensembl id.
    vocabulary
        Token to id.

    Returns
    -------
    pandas.DataFrame
        `genes` with ``token`` ("" if unmatched), ``token_id`` (−1 if unmatched) and
        ``matched_by`` (``symbol``, ``ensembl_id``, ``alias`` or ``unmatched``).
    """
    by_symbol = (genes["symbol"].isin(vocabulary) & ~genes["from_table"]).to_numpy()
    of_id = tokens_of_ids(genes["ensembl_id"], vocabulary)
    by_id = ~by_symbol & (of_id != "").to_numpy()
    aliases = tokens_of_aliases(genes, vocabulary)
    by_alias = ~by_symbol & ~by_id & (aliases["token"] != "").to_numpy()

    ways = [by_symbol, by_id, by_alias]
    token = np.select(ways, [genes["symbol"], of_id, aliases["token"]], "")
    # How closely the gene and the token are linked; 0 is closest.
    distance = np.select(ways, [0, 1, 2 + aliases["distance"]], -1)
    by_alias &= ~joins_another_gene(token, genes["ensembl_id"], distance)
    token[~(by_symbol | by_id | by_alias)] = ""
    return genes.assign(
        token=token.astype(object),
        token_id=np.array([vocabulary.get(name, -1) for name in token], np.int64),
        matched_by=np.select([by_symbol, by_id, by_alias], MATCHED_BY, "unmatched"),
    )


def coverage(matched: pd.DataFrame, counts_per_gene: np.ndarray) -> pd.DataFrame:
    """Tell how much of the cohort the vocabulary knows.

    Parameters
    ----------
    matched
        The table of `match_genes`.
    counts_per_gene
        Sum of each gene's counts over cells, shape (genes,).

    Returns
    -------
    pandas.DataFrame
        ``matched_by, genes, gene_share, counts, count_share``; the last row is the total.
    """
    counts = pd.Series(counts_per_gene, index=matched["matched_by"].to_numpy())
    grouped = counts.groupby(level=0).agg(["size", "sum"])
    grouped = grouped.reindex([*MATCHED_BY, "unmatched"], fill_value=0)
    grouped.loc["total"] = grouped.sum()
    n_genes, n_counts = (max(int(total), 1) for total in grouped.loc["total"])
    return pd.DataFrame(
        {
            "matched_by": grouped.index,
            "genes": grouped["size"].to_numpy(np.int64),
            "gene_share": grouped["size"].to_numpy(float) / n_genes,
            "counts": grouped["sum"].to_numpy(np.int64),
            "count_share": grouped["sum"].to_numpy(float) / n_counts,
        }
    )


def check_coverage(
    table: pd.DataFrame, least: float, kind: str, genes: pd.DataFrame, counts: np.ndarray
) -> None:
    """Raise if too few counts are matched; a model would see a fraction of each cell.

    The vocabulary ``cohort`` matches any name: there the shipped gene tables must know as many.

    Parameters
    ----------
    table
        The table of `coverage`.
    least
        Smallest share of counts.
    kind
        The vocabulary.
    genes
        The table of `match_genes`.
    counts
        Sum of each gene's counts, shape (genes,).

    Raises
    ------
    ScswError
        Naming the shares matched and asked for.
    """
    unmatched = table.set_index("matched_by").loc["unmatched"]
    share = 1 - unmatched["count_share"]
    known, what = genes["token_id"] >= 0, f"genes of the vocabulary `{kind}`"
    if kind == "cohort":
        known = genes["ensembl_id"].isin(symbol_by_ensembl_id().keys())
        known |= genes_named(genes["symbol"])["symbol"] != ""
        share = counts[known].sum() / max(counts.sum(), 1)
        what = "human genes"
    if share < least or not known.any():
        others = genes["symbol"][~known].to_numpy()[np.argsort(-counts[~known], kind="stable")]
        raise ScswError(
            f"{share:.1%} of the counts belong to {what}; of the others, most counts have "
            + ", ".join(others[:4]),
            expected=f"at least {least:.1%} (preprocess.min_count_share)",
            fix="check that genes are human and named by symbol or Ensembl id alone"
            + (
                ""
                if kind == "cohort"
                else "; the vocabulary `cohort` takes every human gene when "
                "training starts from scratch"
            ),
        )


def _checkpoint_file(checkpoint: str | None) -> Path:
    if not checkpoint:
        raise ScswError(
            "the vocabulary `checkpoint` was asked for, but no checkpoint is named",
            fix="name the scGPT folder in model.checkpoint, or use the vocabulary `census`",
        )
    return require(Path(checkpoint) / "vocab.json")
