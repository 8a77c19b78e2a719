"""The methods text of a run, for a proposal or a paper, filled in from ``numbers.json``.

The words stand in ``methods.md.jinja``, where a laboratory can change them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2

from scsw.cohort import sources
from scsw.report import words

REFERENCES = {
    "Cui et al. 2024": "Cui H et al. scGPT: toward building a foundation model for single-cell "
    "multi-omics using generative AI. Nature Methods 21, 1470–1480 (2024).",
    "Yu et al. 2024": "Yu M et al. The super weight in large language models. arXiv:2411.07191 "
    "(2024).",
    "Benjamini and Hochberg 1995": "Benjamini Y, Hochberg Y. Controlling the false discovery rate: "
    "a practical and powerful approach to multiple testing. Journal of the Royal Statistical "
    "Society B 57, 289–300 (1995).",
    "Fujita et al. 2024": "Fujita M et al. Cell subtype-specific effects of genetic variation in "
    "the Alzheimer's disease brain. Nature Genetics 56, 605–614 (2024).",
    "Gabitto et al. 2024": "Gabitto MI et al. Integrated multimodal cell atlas of Alzheimer's "
    "disease. Nature Neuroscience 27, 2366–2383 (2024).",
    "Green et al. 2024": "Green GS et al. Cellular communities reveal trajectories of brain ageing "
    "and Alzheimer's disease. Nature 633, 634–645 (2024).",
    "Grubman et al. 2019": "Grubman A et al. A single-cell atlas of entorhinal cortex from "
    "individuals with Alzheimer's disease reveals cell-type-specific gene expression regulation. "
    "Nature Neuroscience 22, 2087–2097 (2019).",
    "Kobayashi et al. 2020": "Kobayashi G, Kuribayashi T, Yokoi S, Inui K. Attention is not only a "
    "weight: analyzing transformers with vector norms. Proceedings of EMNLP 2020, 7057–7075.",
    "Leng et al. 2021": "Leng K et al. Molecular characterization of selectively vulnerable "
    "neurons in Alzheimer's disease. Nature Neuroscience 24, 276–287 (2021).",
    "Mathys et al. 2019": "Mathys H et al. Single-cell transcriptomic analysis of Alzheimer's "
    "disease. Nature 570, 332–337 (2019).",
    "Mathys et al. 2023": "Mathys H et al. Single-cell atlas reveals correlates of high cognitive "
    "function, dementia, and resilience to Alzheimer's disease pathology. Cell 186, 4365–4385 "
    "(2023).",
    "Morabito et al. 2021": "Morabito S et al. Single-nucleus chromatin accessibility and "
    "transcriptomic characterization of Alzheimer's disease. Nature Genetics 53, 1143–1155 "
    "(2021).",
    "Sun et al. 2024": "Sun M et al. A simple and effective pruning approach for large language "
    "models. International Conference on Learning Representations (2024). arXiv:2306.11695.",
    "Simes 1986": "Simes RJ. An improved Bonferroni procedure for multiple tests of significance. "
    "Biometrika 73, 751–754 (1986).",
    "Rüger 1978": "Rüger B. Das maximale Signifikanzniveau des Tests: Lehne H₀ ab, wenn k unter n "
    "gegebenen Tests zur Ablehnung führen. Metrika 25, 171–178 (1978).",
    "Liberzon et al. 2015": "Liberzon A et al. The Molecular Signatures Database hallmark gene set "
    "collection. Cell Systems 1, 417–425 (2015).",
    "Storey and Tibshirani 2003": "Storey JD, Tibshirani R. Statistical significance for "
    "genomewide studies. PNAS 100, 9440–9445 (2003).",
    "Subramanian et al. 2005": "Subramanian A et al. Gene set enrichment analysis: a "
    "knowledge-based approach for interpreting genome-wide expression profiles. PNAS 102, "
    "15545–15550 (2005).",
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
    # The summary's nulls are those of the other tables once more.
    names = [name for name in by_table if "replication" in name and "summary" not in name]
    replicated = {null for name in names for null in by_table[name]}
    text = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        n=n,
        source=sources.reader(source).TITLE,
        packages=PACKAGES,
        against=_against,
        named=lambda paths: ", ".join(n["libraries"][path] for path in paths),
        replication_nulls=sorted(replicated),
    )
    blocks = [" ".join(block.split()) for block in text.split("\n---\n")]
    return [re.sub(r" ([.,;)])", r"\1", block) for block in blocks]


def _against(nulls: list[str]) -> str:
    """Name the null distributions; that of each block once, as the candidate's own."""
    named = sorted({re.sub(r"block \d+", "the candidate's block", null) for null in nulls})
    return f" (null: {'; '.join(named)})" if named else ""
