"""The tree of cell types of the simulated cohorts, and each source's names for them."""

from __future__ import annotations

from dataclasses import dataclass

# The levels of the tree; types that share more of them are more alike.
LEVELS = ("lineage", "cell_class", "family", "name")


@dataclass(frozen=True)
class CellType:
    """A cell type: its place in the tree and its names.

    Attributes
    ----------
    name
        SEA-AD Subclass, or ``Pericyte``, which only ROSMAP has.
    lineage, cell_class, family
        Nodes above it in the tree; `family` is "" where a class has none.
    broad
        ``broad.cell.type`` of ROSMAP (Mathys 2019).
    weight
        Expected share of the nuclei before normalisation. Glia and microglia are more frequent
        than in tissue, so that few nuclei per donor still show their stage effects.
    """

    name: str
    lineage: str
    cell_class: str
    family: str
    broad: str
    weight: float = 1.0

    @property
    def path(self) -> list[tuple[str, str]]:
        """Return (level, node) pairs from the root to the type."""
        return [(level, getattr(self, level)) for level in LEVELS if getattr(self, level)]

    @property
    def sea_ad_class(self) -> str:
        """Return SEA-AD's ``Class``."""
        names = {
            "inhibitory": "Neuronal: GABAergic",
            "excitatory": "Neuronal: Glutamatergic",
        }
        return names.get(self.cell_class, "Non-neuronal and Non-neural")


def _excitatory(name: str, family: str, weight: float = 1.0) -> CellType:
    return CellType(name, "neuron", "excitatory", family, "Ex", weight)


def _inhibitory(name: str, family: str, weight: float = 1.0) -> CellType:
    return CellType(name, "neuron", "inhibitory", family, "In", weight)


# `cell_types=k` takes the first k: the order mixes the classes, the most telling types first.
SEA_AD_TYPES = [
    _excitatory("L2/3 IT", "IT", 1.5),
    CellType("Astrocyte", "glia", "astrocytes", "", "Ast", 1.5),
    CellType("Microglia-PVM", "immune", "microglia", "", "Mic", 1.5),
    _inhibitory("Sst", "MGE"),
    _excitatory("L5 IT", "IT", 1.5),
    CellType("Oligodendrocyte", "glia", "oligodendrocyte lineage", "", "Oli", 1.5),
    _inhibitory("Pvalb", "MGE"),
    _inhibitory("Vip", "CGE"),
    CellType("OPC", "glia", "oligodendrocyte lineage", "", "Opc"),
    _excitatory("L6 IT", "IT"),
    _inhibitory("Lamp5", "CGE"),
    CellType("Endothelial", "vascular", "vasculature", "", "End"),
    _excitatory("L4 IT", "IT"),
    _excitatory("L6 CT", "deep"),
    _inhibitory("Sncg", "CGE"),
    _excitatory("L5 ET", "deep", 0.5),
    CellType("VLMC", "vascular", "vasculature", "", "", 0.5),  # not a type of Mathys 2019
    _inhibitory("Chandelier", "MGE", 0.5),
    _excitatory("L6b", "deep", 0.5),
    _inhibitory("Pax6", "CGE", 0.5),
    _excitatory("L5/6 NP", "deep", 0.5),
    _inhibitory("Lamp5 Lhx6", "CGE", 0.5),
    _excitatory("L6 IT Car3", "IT", 0.5),
    _inhibitory("Sst Chodl", "MGE", 0.5),
]

ROSMAP_BROAD = ["Ex", "Ast", "Mic", "In", "Oli", "Opc", "End", "Per"]
_PERICYTE = CellType("Pericyte", "vascular", "vasculature", "", "Per")


def sea_ad_types(cell_types: int) -> list[CellType]:
    """Return the first `cell_types` of SEA-AD's 24 subclasses in the simulation's order."""
    return SEA_AD_TYPES[:cell_types]


def rosmap_types(cell_types: int) -> list[CellType]:
    """Return the types beneath the first `cell_types` (at most 8) broad types of ROSMAP.

    They are the first twelve of SEA-AD and the pericyte, so that both cohorts share them.
    """
    broad = ROSMAP_BROAD[:cell_types]
    return [t for t in [*SEA_AD_TYPES[:12], _PERICYTE] if t.broad in broad]
