"""A gene-set library of Enrichr, as a local GMT file with its source beside it."""

from __future__ import annotations

import datetime
from pathlib import Path

from scsw.errors import ScswError
from scsw.files import write_text
from scsw.provenance import recorded

SERVER = "https://maayanlab.cloud/Enrichr"


def download_gene_sets(library: str, out: str | Path, *, organism: str = "Human") -> None:
    """Download a library with `gseapy.get_library` and write it as GMT.

    No other step reaches for the network: enrichment reads the file, so that a run can be done
    again when the server's library has changed. Sets and genes are sorted, each gene stands once,
    and each set's description says where and when it came from. gseapy keeps a copy in its own
    cache.

    Parameters
    ----------
    library
        Name at Enrichr, such as ``KEGG_2021_Human``.
    out
        The GMT file; its stem names the library in the tables. The provenance goes beside it.
    organism
        ``Human``, ``Mouse``, ``Yeast``, ``Fly``, ``Fish`` or ``Worm``.

    Raises
    ------
    ScswError
        If the server cannot be reached, knows no such library, or sends no set.
    """
    import gseapy
    import requests

    out = Path(out)
    if out.suffix.lower() != ".gmt":
        raise ScswError(f"{out} is no name of a GMT file", expected="a name that ends in .gmt")
    parameters = {"library": library, "organism": organism}
    with recorded(f"gene-sets-{out.stem}", out.parent, inputs={}, parameters=parameters) as record:
        record["source"] = SERVER
        try:
            sets = gseapy.get_library(library, organism=organism, min_size=1, max_size=10**9)
        except (requests.RequestException, OSError) as error:
            raise ScswError(
                f"the gene-set server {SERVER} cannot be asked: {error}",
                expected="a connection to the network",
                fix="download on a machine that has one, and copy the GMT file",
            ) from error
        # gseapy raises plain Exceptions for unknown organisms, libraries and empty answers.
        except Exception as error:
            raise ScswError(
                f"{SERVER} gave no library {library} for {organism}: {error}",
                expected="a library that gseapy.get_library_name lists for the organism",
            ) from error
        sets = {name: sorted(set(genes)) for name, genes in sorted(sets.items()) if genes}
        if not sets:
            raise ScswError(f"{SERVER} sent no gene set for {library}")
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        about = f"Enrichr library {library} ({organism}), downloaded {day} with gseapy"
        lines = ["\t".join([name, about, *genes]) for name, genes in sets.items()]
        write_text("\n".join(lines) + "\n", out)
        record["n_sets"] = len(sets)
