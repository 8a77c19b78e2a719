"""The genes of a simulated cohort: real symbols with their Ensembl ids, curated ones first."""

from __future__ import annotations

import gzip
import itertools
import re

import numpy as np
import pandas as pd

from scsw.cohort.genes import GENE_TABLE
from scsw.cohort.simulation import markers
from scsw.errors import ScswError
from scsw.resources import resource

ORDER_SEED = 20_240_213  # order of the genes that fill up; the same in every cohort
MARKERS_FIRST = 3  # markers of each type that come before all other curated genes

# Clone names; olfactory, keratin and other genes of single tissues outside the brain; and genes
# of the Y chromosome, as the simulation has no sex effect.
_UNLIKELY = re.compile(
    r"\.|^C\d+orf|^CXorf|^OR\d|^KRT|^TAS2R|^DEFB|^MAGE|^SSX|^PRAMEF|^USP17L|^IG[HKL]|^TR[ABGD][VJC]"
    r"|^LOC|^LINC|^TSPY|^GAGE|^CT\d|^LCE|^SPRR|^(DAZ|RBMY|CDY|BPY2|VCY|HSFY|SRY|UTY|ZFY|PRY|PRKY|KDM5D)"
    r"|^(DDX3|USP9|EIF1A|NLGN4|TMSB4|PCDH11|AMEL|TBL1|TXLNG|TGIF2L)Y$|^RPS4Y"
)


def genes(n: int) -> pd.DataFrame:
    """Return the first `n` genes of one fixed order.

    Curated genes come first, by priority; then protein-coding genes in a random order that no
    argument changes. So a smaller set is always the start of a larger one.

    Returns
    -------
    pandas.DataFrame
        ``symbol, ensembl_id``, shape (n, 2).

    Raises
    ------
    ScswError
        If the gene table holds fewer genes.
    """
    table = _gene_table()
    curated = curated_symbols()
    coding = table.index[table["biotype"] == "protein_coding"]
    fill = sorted({s for s in coding if not _UNLIKELY.search(s)} - set(curated))
    fill = np.random.default_rng(ORDER_SEED).permutation(fill)
    symbols = [*curated, *fill][:n]
    if len(symbols) < n:
        raise ScswError(f"{n} genes were asked for", expected=f"at most {len(symbols)}")
    ids = table["ensembl_id"].reindex(symbols)
    return pd.DataFrame({"symbol": symbols, "ensembl_id": ids.to_numpy()})


def curated_symbols() -> list[str]:
    """Return all curated genes once each, by priority."""
    lists = list(markers.MARKERS.values())
    ordered = itertools.chain(
        *[names[:MARKERS_FIRST] for names in lists],
        markers.MITOCHONDRIAL,
        markers.AD_GENES[:17],
        *itertools.zip_longest(markers.DAM, markers.SYNAPTIC, markers.REACTIVE_ASTROCYTE),
        markers.AD_GENES,
        markers.HOUSEKEEPING,
        *lists,
    )
    return list(dict.fromkeys(symbol for symbol in ordered if symbol is not None))


def _gene_table() -> pd.DataFrame:
    """Read the shipped table; index = symbol, a protein-coding entry before others of its name."""
    with gzip.open(resource(GENE_TABLE), "rt", encoding="utf-8") as lines:
        names = ["ensembl_id", "symbol", "version", "length", "biotype"]
        table = pd.read_csv(lines, header=None, names=names, keep_default_na=False)
    table["other"] = table["biotype"] != "protein_coding"
    table = table.sort_values(["other", "ensembl_id"], kind="stable")
    return table.drop_duplicates("symbol").set_index("symbol")[["ensembl_id", "biotype"]]
