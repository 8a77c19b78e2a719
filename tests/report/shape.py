"""How large an invented run is, and what it found."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from scsw.report.names import AD_GENES

CLASSES = ("excitatory", "inhibitory", "glia", "vascular", "immune", "other")
LONG_TYPES = (
    "Lamp5 Lhx6|Lamp5|Pax6|Sncg|Vip|Sst Chodl|Sst|Pvalb|Chandelier|L2/3 IT|L4 IT|L5 IT|L6 IT|"
    "L6 IT Car3|L5 ET|L6 CT|L6b|L5/6 NP|Astrocyte|Oligodendrocyte|OPC|Microglia-PVM|Endothelial|"
    "VLMC"
).split("|")


@dataclass
class Shape:
    """How large the invented run is, and what it found."""

    seeds: tuple[int, ...] = (0, 1)
    arms: tuple[str, ...] = ("untrained", "implanted_constant", "implanted_informative", "shuffled")
    n_candidates: int = 3
    n_types: int = 4
    n_donors: int = 12
    n_blocks: int = 2
    n_heads: int = 2
    n_controls: int = 60
    n_unit_controls: int = 1000  # of the gene-set tests
    n_genes: int = 30
    verdicts: dict[int, str] = field(default_factory=dict)  # seed → verdict of its first candidate
    failed: tuple[str, ...] = ()  # control arms that did not come out as expected
    simulated: bool = True
    components: bool = True
    pathways: bool = True
    stages_tested: bool = True
    bulk: tuple[str, ...] = ()  # external cohorts of bulk expression
    spatial: str = ""  # how the spatial read-out ended; none if empty
    cohorts: tuple[str, ...] = ("simcohort",)
    type_names: tuple[str, ...] | None = None
    min_effect: float = 0.045
    rescued: float = 0.1  # share of the cost of rounding left when the candidates are held out
    detectable_effect: float = 0.05
    genes_of_top: tuple[str, ...] = AD_GENES[:5]
    losing: tuple[str, ...] = ("min_genes", "min_counts", "max_pct_mito", "max_doublet_score")
    n_positions: int = 4  # channels that spike in some model
    n_regions: int = 1
    one_start: bool = True
    absent: tuple[str, ...] = ()  # measures that the source lacks
    studies: tuple[str, ...] = ("",)
    warnings: tuple[str, ...] = ("Thal phase is missing for every donor.",)

    @cached_property
    def types(self) -> list[str]:
        """Names of the cell types."""
        return list(self.type_names or LONG_TYPES[: self.n_types])

    @cached_property
    def donors(self) -> list[str]:
        """Names of the donors."""
        return [f"D{i:03d}" for i in range(self.n_donors)]

    @cached_property
    def split_of(self) -> dict[str, str]:
        """Split of each donor."""
        order = ["train", "test", "discovery", "test", "train", "validation"]
        return {donor: order[i % 6] for i, donor in enumerate(self.donors)}

    @cached_property
    def test_donors(self) -> list[str]:
        """Donors of the test split."""
        return [donor for donor in self.donors if self.split_of[donor] == "test"]
