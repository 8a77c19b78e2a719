"""Negative-binomial counts of simulated nuclei with planted cell types and stage effects.

The biology (what each gene does in each type, and with severity) comes from fixed seeds and gene
names alone, so every simulated cohort shares it; only donors and nuclei depend on the user's seed.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from scsw.cohort.simulation import markers
from scsw.cohort.simulation.cell_tree import CellType

BIOLOGY_SEED = 1907

# How hard the cell types are to tell apart. Sizes are standard deviations of log expression of
# the genes that a node of the tree regulates; TYPE_EFFECT is the first knob to turn. A larger one
# also puts a nucleus's counts on fewer genes, of which a short token list then shows more.
LEVEL_EFFECT = {"lineage": 1.0, "cell_class": 1.2, "family": 0.7, "name": 0.42}
TYPE_EFFECT = 2.2  # scales all levels and markers at once
REGULATED = 0.25  # share of the genes that one node regulates
MARKER_EFFECT = {"lineage": 2.0, "cell_class": 3.0, "family": 2.0, "name": 1.5}
STATE_EFFECT = 0.15  # between the two states (supertypes) of one type
AMBIENT = (2.0, 14.0)  # beta parameters of a nucleus's share of counts from the donor's mixture

# Donors and nuclei.
DONOR_EFFECT = 0.25  # standard deviation of a donor's log fold per gene, the same in all types
DONOR_DEPTH = 0.15  # standard deviation of a donor's log library size
COUNTS_PER_GENE = 0.45  # mean counts of a nucleus / number of genes
DEPTH_SPREAD = 0.35  # standard deviation of log library size within a type
TYPE_DEPTH = {"excitatory": 1.2, "inhibitory": 1.1}  # all others 0.85
PROPORTION_CONCENTRATION = 60.0  # Dirichlet; larger = donors more alike in composition
DISPERSION = 0.4  # negative binomial: variance = mean + DISPERSION * mean**2
MITO_SHARE, MITO_SPREAD = 0.01, 0.45  # median and log standard deviation over nuclei
LOW_DEPTH, HIGH_MITO, DOUBLETS = 0.02, 0.02, 0.02  # shares of nuclei that QC should remove

# Baseline log expression, relative to the median gene.
GENE_SPREAD = 1.6
HOUSEKEEPING_LEVEL, MALAT1_LEVEL, CURATED_LEVEL = 2.0, 4.5, 0.7

# Stage effects: natural-log fold change from severity 0 to severity 1, in one class each.
DAM_RISE = 1.5
SYNAPTIC_LOSS = -1.0
REACTIVE_RISE = 1.5
STAGE_EFFECTS = {
    "microglia": (markers.DAM, DAM_RISE),
    "excitatory": (markers.SYNAPTIC, SYNAPTIC_LOSS),
    "astrocytes": (markers.REACTIVE_ASTROCYTE, REACTIVE_RISE),
}
# Where these signatures are expressed above baseline at all.
SIGNATURE_LEVEL = 2.5
SIGNATURE_NODES = {
    "microglia": markers.DAM,
    "neuron": markers.SYNAPTIC,
    "astrocytes": markers.REACTIVE_ASTROCYTE,
}
SIGNATURES = [*markers.DAM, *markers.SYNAPTIC, *markers.REACTIVE_ASTROCYTE]

STATES = 2
STATE_SHARES = (0.6, 0.4)  # of a type's nuclei


@dataclass(frozen=True)
class Biology:
    """What every simulated cohort shares.

    Attributes
    ----------
    log_mean
        Relative log expression at severity 0, float64, shape (types * STATES, genes).
    stage_slope
        Change of `log_mean` from severity 0 to 1, same shape.
    depth
        Relative library size, shape (types * STATES,).
    is_mito
        Mitochondrial genes, bool, shape (genes,).
    """

    log_mean: np.ndarray
    stage_slope: np.ndarray
    depth: np.ndarray
    is_mito: np.ndarray


@dataclass(frozen=True)
class Nuclei:
    """Simulated nuclei, donor after donor.

    Attributes
    ----------
    counts
        Raw counts, int32 CSR with sorted indices, shape (nuclei, genes).
    donor, state
        Row of the donor table; type * STATES + state; int, shape (nuclei,).
    doublet_score
        0–1, float, shape (nuclei,).
    """

    counts: sparse.csr_matrix
    donor: np.ndarray
    state: np.ndarray
    doublet_score: np.ndarray


def biology(symbols: Sequence[str], types: Sequence[CellType]) -> Biology:
    """Build the shared biology; a gene's part in a type depends on the two names' order alone.

    Parameters
    ----------
    symbols
        Genes in the fixed order of `genes.genes`.
    types
        Cell types.
    """
    baseline = _baseline(symbols)
    rows, slopes = [], []
    for cell_type in types:
        mean = baseline + sum(_programme(level, node, symbols) for level, node in cell_type.path)
        for state in range(STATES):
            state_part = _normal(f"{cell_type.name} state {state}", symbols)
            rows.append(mean + STATE_EFFECT * state_part)
            slopes.append(_stage_slope(cell_type, symbols))
    depth = [TYPE_DEPTH.get(t.cell_class, 0.85) for t in types for _ in range(STATES)]
    is_mito = np.isin(symbols, markers.MITOCHONDRIAL)
    return Biology(np.array(rows), np.array(slopes), np.array(depth), is_mito)


def state_weights(types: Sequence[CellType]) -> np.ndarray:
    """Return the expected share of each state, shape (types * STATES,), summing to 1."""
    weights = np.outer([t.weight for t in types], STATE_SHARES).ravel()
    return weights / weights.sum()


def nuclei(
    life: Biology,
    weights: np.ndarray,
    severity: np.ndarray,
    nuclei_per_donor: int,
    rng: np.random.Generator,
) -> Nuclei:
    """Draw the nuclei of all donors.

    Parameters
    ----------
    life
        The shared biology.
    weights
        Of each state; see `state_weights`.
    severity
        Of each donor, 0–1.
    nuclei_per_donor
        Nuclei of each donor.
    rng
        Source of chance.
    """
    parts = [_donor_nuclei(life, weights, s, nuclei_per_donor, rng) for s in severity]
    counts, states, scores = zip(*parts, strict=True)
    return Nuclei(
        sparse.csr_matrix(sparse.vstack(counts)),
        np.repeat(np.arange(len(severity)), nuclei_per_donor),
        np.concatenate(states),
        np.concatenate(scores),
    )


def _donor_nuclei(
    life: Biology, weights: np.ndarray, severity: float, n: int, rng: np.random.Generator
) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    n_genes = life.log_mean.shape[1]
    donor_part = DONOR_EFFECT * rng.normal(size=n_genes)
    profiles = _shares(life.log_mean + severity * life.stage_slope + donor_part, life.is_mito)
    composition = rng.dirichlet(PROPORTION_CONCENTRATION * weights)
    state = rng.choice(len(weights), size=n, p=composition)
    is_doublet = rng.random(n) < DOUBLETS
    partner = np.where(is_doublet, rng.choice(len(weights), size=n, p=composition), state)
    own = (profiles[state] + profiles[partner]) / 2
    ambient = rng.beta(*AMBIENT, size=(n, 1))
    shares = (1 - ambient) * own + ambient * (composition @ profiles)
    shares = _with_mito(shares, life.is_mito, _mito_share(n, rng))
    depth = _depth(n, n_genes, life.depth[state], rng)
    expected = depth[:, None] * shares
    rate = rng.gamma(1 / DISPERSION, expected * DISPERSION)
    counts = sparse.csr_matrix(rng.poisson(rate).astype(np.int32))
    score = np.where(is_doublet, rng.uniform(0.35, 0.8, n), rng.beta(2, 25, n))
    return counts, state, score


def _baseline(symbols: Sequence[str]) -> np.ndarray:
    level = GENE_SPREAD * _normal("baseline", symbols)
    curated = set().union(
        *markers.MARKERS.values(), *(names for names, _ in STAGE_EFFECTS.values()), markers.AD_GENES
    )
    # Curated genes keep a little spread only, so that none is too rare to show its effect.
    level = np.where(np.isin(symbols, list(curated)), CURATED_LEVEL + level / 4, level)
    level = np.where(np.isin(symbols, markers.HOUSEKEEPING), HOUSEKEEPING_LEVEL + level / 3, level)
    return np.where(np.asarray(symbols) == "MALAT1", MALAT1_LEVEL, level)


def _programme(level: str, node: str, symbols: Sequence[str]) -> np.ndarray:
    regulated = _generator(f"{node} regulates").random(len(symbols)) < REGULATED
    effect = LEVEL_EFFECT[level] * _normal(node, symbols) * regulated
    # Stage signatures change by `SIGNATURE_LEVEL` alone, so that no gene drowns the others.
    effect[np.isin(symbols, SIGNATURES)] = 0
    effect[np.isin(symbols, markers.MARKERS.get(node, []))] = MARKER_EFFECT[level]
    effect = TYPE_EFFECT * effect
    return effect + SIGNATURE_LEVEL * np.isin(symbols, SIGNATURE_NODES.get(node, []))


def _stage_slope(cell_type: CellType, symbols: Sequence[str]) -> np.ndarray:
    names, slope = STAGE_EFFECTS.get(cell_type.cell_class, ([], 0.0))
    return slope * np.isin(symbols, names)


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng([BIOLOGY_SEED, zlib.crc32(name.encode())])


def _normal(name: str, symbols: Sequence[str]) -> np.ndarray:
    """Draw one standard normal per gene; a longer list of genes starts with the same numbers."""
    return _generator(name).normal(size=len(symbols))


def _shares(log_expression: np.ndarray, is_mito: np.ndarray) -> np.ndarray:
    """Return shares of the nuclear counts and, apart from them, of the mitochondrial ones."""
    level = np.exp(log_expression)
    nuclear = level * ~is_mito
    mito = level * is_mito
    return nuclear / nuclear.sum(1, keepdims=True) + mito / mito.sum(1, keepdims=True)


def _with_mito(shares: np.ndarray, is_mito: np.ndarray, mito_share: np.ndarray) -> np.ndarray:
    return shares * np.where(is_mito, mito_share[:, None], 1 - mito_share[:, None])


def _mito_share(n: int, rng: np.random.Generator) -> np.ndarray:
    usual = rng.lognormal(np.log(MITO_SHARE), MITO_SPREAD, n)
    return np.where(rng.random(n) < HIGH_MITO, rng.uniform(0.08, 0.25, n), usual)


def _depth(n: int, n_genes: int, type_depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    spread = rng.normal(0, DEPTH_SPREAD, n) + rng.normal(0, DONOR_DEPTH)
    depth = COUNTS_PER_GENE * n_genes * type_depth * np.exp(spread)
    return np.where(rng.random(n) < LOW_DEPTH, 0.1 * depth, depth)
