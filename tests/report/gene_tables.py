"""Invented tables of the genes, gene sets and components of one model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.report.shape import CLASSES, Shape

SETS = {
    "ad_axes": [
        *("AD_AMYLOID_PROCESSING", "AD_TAU_KINASES_PHOSPHATASES", "AD_GWAS_2022", "AD_OXPHOS"),
        *[f"AD_AXIS_WITH_A_LONG_NAME_{i}" for i in range(12)],
    ],
    "hallmark": ["HALLMARK_OXIDATIVE_PHOSPHORYLATION", "HALLMARK_INFLAMMATORY_RESPONSE"]
    + [f"HALLMARK_SET_{i}" for i in range(20)],
    "reactome": [
        "REACTOME_RESPIRATORY_ELECTRON_TRANSPORT_ATP_SYNTHESIS_BY_CHEMIOSMOTIC_COUPLING_AND_HEAT",
        *[f"REACTOME_SIGNALING_BY_RECEPTOR_TYROSINE_KINASE_NUMBER_{i}" for i in range(20)],
    ],
}


def gene_table(candidates: pd.DataFrame, rng, shape: Shape) -> pd.DataFrame:
    genes = [*shape.genes_of_top, *[f"GENE{i}" for i in range(shape.n_genes - 5)]]
    rows = [
        (c.candidate_id, view, "GEP" if view == "write_out" else "", kind, gene, z)
        for c in candidates.itertuples()
        for view in ("read_in", "write_out", "direction")
        for kind in ("all", shape.types[0])
        for gene, z in zip(genes, rng.normal(0, 3, len(genes)), strict=True)
    ]
    names = ["candidate_id", "view", "decoder", "cell_type", "gene", "z"]
    table = pd.DataFrame(rows, columns=names)
    table["score"], table["p"] = table["z"], 0.01
    table["q"] = np.where(table["z"].abs() > 3, 0.01, 0.5)
    null = "100 genes of nearest detection rate and mean bin"
    tested = table["view"].ne("direction") & table["cell_type"].eq("all")
    table["unit_mean"], table["unit_sd"] = 0.3 * table["z"], 1.0
    table["unit_p"], table["unit_q"] = 0.02, np.where(table["z"].abs() > 5, 0.03, 0.6)
    columns = ["unit_mean", "unit_sd", "unit_p", "unit_q"]
    table.loc[~tested, columns] = np.nan
    table["unit_null"] = np.where(tested, "16 hidden units alike", "")
    return table.assign(n_cells=50, detection_rate=0.5, mean_bin=10.0, null=null)


def control_unit_table(candidates: pd.DataFrame) -> pd.DataFrame:
    rows = [
        (c.candidate_id, view, f"{view}.b0.c{i}", 0.01 * i, float(i % 3), 4.0)
        for c in candidates.itertuples()
        for view in ("read_in", "write_out")
        for i in range(20)
    ]
    columns = "candidate_id view control distance n_passed own_passed".split()
    table = pd.DataFrame(rows, columns=columns).astype({"n_passed": float, "own_passed": float})
    return table.assign(in_unit_p=True, l2_ratio=1.0, linearity=1.0)


def component_tables(rng, shape: Shape) -> dict[str, pd.DataFrame]:
    """Return effects, pathways and stages of the heads and MLPs."""
    effects, pathways, stages = [], [], []
    for block in range(shape.n_blocks):
        for name in [*[f"head{i}" for i in range(shape.n_heads)], "mlp"]:
            place = {"block": block, "component": name}
            size = float(rng.gamma(0.4, 0.1)) * rng.choice([1, 1, 1, -0.1])
            half = abs(float(rng.normal(0, 0.02)))
            to_spike = float(rng.gamma(2)) if block and name != "mlp" else np.nan
            effects.append(
                place
                | {"effect_nll": size, "effect_low": size - half, "effect_high": size + half}
                | {"q": 0.01 if size > half else 0.5, "excess_q": 0.01 if size > 0.05 else 0.5}
                | {"control_nll": size / 3, "excess_nll": size / 1.5, "rank": 1}
                | {"output_share": 0.2, "attention_to_spike": to_spike}
                | {"spike_candidate": "ffn_down.b0.r1.c1", "spike_found_by": "spike"}
                | {"leading_genes": "APOE;APP" if block else "", "n_significant_genes": block}
            )
            for axis in ("AD_OXPHOS", "AD_GLUTAMATERGIC_SYNAPSE") if shape.pathways else ():
                tested = {"view": "contribution", "library": "ad_axes", "gene_set": axis}
                q = float(rng.beta(0.5, 1))
                found = {"primary": True, "p": q / 2, "q": q, "share_of_components": 0.1}
                pathways.append(place | tested | found)
            status = "tested" if shape.stages_tested else "not tested"
            for cell_class in sorted(set(CLASSES[: len(shape.types)])):
                tested = {"measure": "contribution", "cell_class": cell_class, "stage": "adnc"}
                q = float(rng.beta(0.5, 1)) if shape.stages_tested else np.nan
                found = {"primary": True, "beta": 0.3, "p": q / 2, "q": q, "status": status}
                found["detectable"] = 0.7 if shape.stages_tested else np.nan
                found["survives_thinning"] = "yes" if q < 0.02 else "no" if q < 0.05 else ""
                stages.append(place | tested | found)
    of_pathways = "block component view library gene_set primary p q share_of_components".split()
    return {
        "components/component_effects": pd.DataFrame(effects),
        "component_links/component_pathways": pd.DataFrame(pathways, columns=of_pathways),
        "component_links/component_stages": pd.DataFrame(stages),
    }


def pathway_table(candidates: pd.DataFrame, rng, shape: Shape) -> pd.DataFrame:
    rows = []
    for c in candidates.head(5).itertuples() if shape.pathways else ():
        for view in ("read_in", "write_out"):
            for method, libraries in {"ora": SETS, "prerank": ["ad_axes", "hallmark"]}.items():
                for library in libraries:
                    for name in SETS[library]:
                        value = rng.gamma(2, 1) if method == "ora" else rng.normal(0, 1)
                        q = float(rng.beta(0.5, 1))
                        null = "hypergeometric" if method == "ora" else "gene permutation"
                        place = (c.candidate_id, view, method, library, name)
                        rows.append((*place, 30, 5, value, q / 2, q, null, "APOE;APP"))
    names = "candidate_id view method library gene_set n_genes_in_set n_overlap statistic p q null"
    table = pd.DataFrame(rows, columns=[*names.split(), "leading_edge"])
    return _calibrated(table, rng, shape.n_unit_controls)


def _calibrated(table: pd.DataFrame, rng, n: int) -> pd.DataFrame:
    """Add what the controls say; with no controls nothing."""
    primary = table["library"].eq("ad_axes")
    columns = ["calibrated_p", "calibrated_q", "empirical_fdr", "calibrated_floor"]
    table = table.assign(primary=primary, n_controls=n, calibrated_null="")
    if not n:
        return table.assign(**dict.fromkeys(columns, np.nan))
    q = np.minimum(1, table["q"] * rng.uniform(1, 20, len(table)))
    tails = np.where(table["method"] == "ora", 1, 2)
    return table.assign(
        calibrated_p=q / 2,
        calibrated_q=q.where(primary),
        empirical_fdr=q,
        calibrated_floor=tails / (1 + n),
        calibrated_null=table["view"].map(lambda view: f"{n:,} controls of {view}"),
    )


def set_overlap_table() -> pd.DataFrame:
    """Return overlaps of two axes."""
    row = {"library_a": "ad_axes", "set_a": "AD_AMYLOID_PROCESSING", "library_b": "ad_axes"}
    row |= {"set_b": "AD_GWAS_2022", "n_a": 70, "n_b": 80, "n_shared": 2, "jaccard": 2 / 148}
    return pd.DataFrame([row | {"shared": "APOE;APP"}])
