"""Cell types of each source: aliases of their names, and the broad class of each."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from scsw.cohort import coding
from scsw.cohort.harmonise import CELL_CLASSES

# SEA-AD: some releases shorten four of the 24 subclasses.
SEA_AD_ALIASES = {
    "Astro": "Astrocyte",
    "Oligo": "Oligodendrocyte",
    "Micro-PVM": "Microglia-PVM",
    "Endo": "Endothelial",
}
SEA_AD_CLASSES = {
    **dict.fromkeys(
        ["Lamp5 Lhx6", "Lamp5", "Pax6", "Sncg", "Vip", "Sst Chodl", "Sst", "Pvalb", "Chandelier"],
        "inhibitory",
    ),
    **dict.fromkeys(
        ["L2/3 IT", "L4 IT", "L5 IT", "L6 IT", "L6 IT Car3", "L5 ET", "L6 CT", "L6b", "L5/6 NP"],
        "excitatory",
    ),
    **dict.fromkeys(["Astrocyte", "Oligodendrocyte", "OPC"], "glia"),
    "Microglia-PVM": "immune",
    **dict.fromkeys(["Endothelial", "VLMC"], "vascular"),
    # The release of 2026 with ten regions: the hippocampal formation, and two new names.
    **dict.fromkeys(["EC IT", "Sub-CA1", "CA2-4", "DG"], "excitatory"),
    "Ependymal": "glia",
    "Immune": "immune",
    "VLMC & Perivascular": "vascular",
}
# SEA-AD's own classes, for subclasses of other regions that the list above lacks.
SEA_AD_BROAD = {
    "Neuronal: GABAergic": "inhibitory",
    "Neuronal: Glutamatergic": "excitatory",
    "inh": "inhibitory",
    "exc": "excitatory",
}

# Siletti 2023, column supercluster_term: those whose names alone do not tell the class. Splatter,
# Miscellaneous and the rhombic lips mix several classes.
SILETTI_2023_CLASSES = {
    **dict.fromkeys(
        ["Hippocampal CA1-3", "Hippocampal CA4", "Hippocampal dentate gyrus", "Mammillary body"],
        "excitatory",
    ),
    "Fibroblast": "vascular",
}

# Mathys 2019, column broad.cell.type.
MATHYS_2019_CLASSES = {
    "Ex": "excitatory",
    "In": "inhibitory",
    "Ast": "glia",
    "Oli": "glia",
    "Opc": "glia",
    "Mic": "immune",
    "End": "vascular",
    "Per": "vascular",
}

# Mathys 2023, column Major_Cell_Type.
MATHYS_2023_CLASSES = {
    "Exc": "excitatory",
    "Inh": "inhibitory",
    "Ast": "glia",
    "Oli": "glia",
    "Opc": "glia",
    "OPC": "glia",
    "Mic": "immune",
    "Vas": "vascular",
}

# Green 2024: the h5ad and the Seurat files say in `subset` what cell-annotation.csv says otherwise.
# CUX2+ and CUX2- are two parts of the excitatory neurons.
GREEN_ALIASES = {
    "CUX2+": "Excitatory Neurons",
    "CUX2-": "Excitatory Neurons",
    "Excitatory": "Excitatory Neurons",
    "Inhibitory": "Inhibitory Neurons",
    "Astrocytes": "Astrocyte",
}
GREEN_CLASSES = {
    "Excitatory Neurons": "excitatory",
    "Inhibitory Neurons": "inhibitory",
    **dict.fromkeys(["Astrocyte", "Oligodendrocytes", "OPCs", "COP", "MFOL"], "glia"),
    **dict.fromkeys(
        ["Microglia", "Macrophages", "Monocytes", "Neutrophils", "NK Cells", "CD8+ T Cells"],
        "immune",
    ),
    **dict.fromkeys(["Endothelial", "Pericytes", "SMC", "Fibroblast"], "vascular"),
}

# Morabito 2021, column Cell.Type.
MORABITO_2021_CLASSES = {
    "EX": "excitatory",
    "INH": "inhibitory",
    "ASC": "glia",
    "ODC": "glia",
    "OPC": "glia",
    "MG": "immune",
    "PER.END": "vascular",
}
# Grubman 2019, column oupSample.cellType; its neurons are not divided into kinds.
GRUBMAN_2019_CLASSES = {
    "neuron": "other",
    "astro": "glia",
    "oligo": "glia",
    "OPC": "glia",
    "mg": "immune",
    "endo": "vascular",
}
# Leng 2021, column clusterCellType.
LENG_2021_CLASSES = {
    "Exc": "excitatory",
    "Inh": "inhibitory",
    "Astro": "glia",
    "Oligo": "glia",
    "OPC": "glia",
    "Micro": "immune",
    "Endo": "vascular",
}

# Terms of the Cell Ontology that stand alone where a file gives no names.
CELL_ONTOLOGY_CLASSES = {
    "CL:0000127": "glia",  # astrocyte
    "CL:0000128": "glia",  # oligodendrocyte
    "CL:0002453": "glia",  # oligodendrocyte precursor cell
    "CL:0000129": "immune",  # microglial cell
    "CL:0000235": "immune",  # macrophage
    "CL:0000576": "immune",  # monocyte
    "CL:0000084": "immune",  # T cell
    "CL:0000236": "immune",  # B cell
    "CL:0000623": "immune",  # natural killer cell
    "CL:0000115": "vascular",  # endothelial cell
    "CL:0000669": "vascular",  # pericyte
    "CL:0000679": "excitatory",  # glutamatergic neuron
    "CL:0000617": "inhibitory",  # GABAergic neuron
}

# Names that mean one thing in any file of brain cells: the short ones of the sources above.
_NAMES = {
    **CELL_ONTOLOGY_CLASSES,
    **SEA_AD_CLASSES,
    **MATHYS_2019_CLASSES,
    **MATHYS_2023_CLASSES,
    **MORABITO_2021_CLASSES,
    **GRUBMAN_2019_CLASSES,
    **LENG_2021_CLASSES,
}

# Searched in this order: "vascular leptomeningeal cell" is no neuron, "microglia" no macroglia.
_PATTERNS = {
    "immune": r"immune|microglia|macrophage|\bmic(ro)?\b|pvm\b|\bcams?\b|monocyte|myeloid"
    r"|lymphocyte|leukocyte|\b[tb][ -]cells?\b|natural killer|\bnk\b|dendritic cell|mast cell"
    r"|neutrophil|plasma cell",
    "vascular": r"endothel|pericyte|\bperi\b|vascular|\bvlmc\b|smooth muscle|\bsmc\b|\bmural\b"
    r"|\bendo\b|\bvasc\b",
    "glia": r"\bast(s|ro.*)?\b|\boligo?|\bopcs?\b|\bcops?\b|ependym|bergmann glia",
    "inhibitory": r"gaba|\binhib|interneuron|chandelier|\binh\b|medium spiny|\bmsns?\b"
    r"|\b(pvalb|sst|vip|lamp5|sncg)\b|^in(\d+|n| neurons?)?\b",
    "excitatory": r"glutamat|\bexcit|pyramidal|\bexc\b|intratelencephalic|corticothalamic"
    r"|near-projecting|\bl[2-6][^ ]*( [2-6])? (it|et|ct|np)\b|\bl6b\b|^ex(\d+|n| neurons?)?\b",
}


def class_of_name(name: str) -> str:
    """Return the cell class that a cell type's name or ontology term tells, else ``"other"``."""
    for known in (name, re.sub(r"[._ -]?\d+$", "", name)):  # Mic.12 and In0 are clusters of a type
        if known in _NAMES:
            return _NAMES[known]
    words = name.replace("_", " ")  # OPC_2 is an OPC
    for cell_class, pattern in _PATTERNS.items():
        if re.search(pattern, words, flags=re.IGNORECASE):
            return cell_class
    return "other"


def classes(
    cell_type: pd.Series,
    known: dict[str, str] | None = None,
    *further: tuple[pd.Series, dict[str, str]],
) -> pd.Series:
    """Return the class of each cell.

    Parameters
    ----------
    cell_type
        Names, one per cell.
    known
        Classes of a source's own names; other names are read by `class_of_name`.
    further
        Further columns and their own names, asked in turn where the class is still ``"other"``.

    Returns
    -------
    pandas.Series
        One of the six classes per cell; categorical.
    """
    other = CELL_CLASSES.index("other")
    result = np.full(len(cell_type), other, np.int8)
    for column, table in ((cell_type, known or {}), *further):
        names = {str(name): table.get(name) or class_of_name(name) for name in column.unique()}
        own = coding.mapped(column, {name: CELL_CLASSES.index(c) for name, c in names.items()}.get)
        result = np.where(result == other, own.to_numpy(np.int8), result)
    named = pd.Categorical.from_codes(result, CELL_CLASSES)
    return pd.Series(named, index=cell_type.index)
