"""The methods text of a run, for a proposal or a paper, filled in from ``numbers.json``.

The words stand in ``methods.md.jinja``, where a laboratory can change them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2

from scsw.report import words

REFERENCES = {
    "Cui et al. 2024": "Cui H et al. scGPT: toward building a foundation model for single-cell "
    "multi-omics using generative AI. Nature Methods 21, 1470–1480 (2024).",
    "Yu et al. 2024": "Yu M et al. The super weight in large language models. arXiv:2411.07191 "
    "(2024).",
    "Benjamini and Hochberg 1995": "Benjamini Y, Hochberg Y. Controlling the false discovery rate: "
    "a practical and powerful approach to multiple testing. Journal of the Royal Statistical "
    "Society B 57, 289–300 (1995).",
    "Gabitto et al. 2024": "Gabitto MI et al. Integrated multimodal cell atlas of Alzheimer's "
    "disease. Nature Neuroscience 27, 2366–2383 (2024).",
    "Mathys et al. 2019": "Mathys H et al. Single-cell transcriptomic analysis of Alzheimer's "
    "disease. Nature 570, 332–337 (2019).",
    "Subramanian et al. 2005": "Subramanian A et al. Gene set enrichment analysis: a "
    "knowledge-based approach for interpreting genome-wide expression profiles. PNAS 102, "
    "15545–15550 (2005).",
}
SOURCES = {
    "sea_ad": "SEA-AD (Gabitto et al. 2024)",
    "rosmap": "ROSMAP (Mathys et al. 2019)",
    "cellxgene": "CELLxGENE",
}
PACKAGES = "scsw python torch scgpt scanpy scipy statsmodels gseapy".split()
_TEMPLATE = Path(__file__).with_name("methods.md.jinja")


def methods_text(n: dict[str, Any]) -> str:
    """Return the methods as Markdown: paragraphs, then the references they cite.

    Parameters
    ----------
    n
        The content of ``numbers.json``.
    """
    blocks = methods_blocks(n)
    cited = [f"- {full}" for short, full in REFERENCES.items() if short in " ".join(blocks)]
    return "\n\n".join([*blocks, "## References", "\n".join(cited)]) + "\n"


def methods_blocks(n: dict[str, Any]) -> list[str]:
    """Return the heading and the paragraphs, each on one line."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    for write in (words.count, words.amount, words.percent, words.several):
        environment.filters[write.__name__] = write
    source = n["sections"]["cohort"]["source"]
    by_table = n["nulls"]
    replicated = {x for name in by_table if "replication" in name for x in by_table[name]}
    text = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        n=n,
        source=SOURCES.get(source, source),
        packages=PACKAGES,
        against=_against,
        replication_nulls=sorted(replicated),
    )
    blocks = [" ".join(block.split()) for block in text.split("\n---\n")]
    return [re.sub(r" ([.,;])", r"\1", block) for block in blocks]


def _against(nulls: list[str]) -> str:
    """Name the null distributions; that of each block once, as the candidate's own."""
    named = sorted({re.sub(r"block \d+", "the candidate's block", null) for null in nulls})
    return f" (null: {'; '.join(named)})" if named else ""
