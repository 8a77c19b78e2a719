"""Heads and MLPs against pathways and stages, with planted truth."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom
from statsmodels.stats.multitest import multipletests

from scsw.biology.components.component_activity import MEASURES
from scsw.biology.components.component_links import component_stages, link_components, pathways
from scsw.biology.stages.donor_facts import FACTS
from scsw.biology.stages.stage_slope import stage_slope
from scsw.errors import ScswError
from scsw.files import read_table
from scsw.settings import section_settings

GENES = [f"GENE{i:03d}" for i in range(200)]
COMPONENTS = [(0, "head0"), (0, "head1"), (0, "mlp"), (1, "head0")]
MODULE = GENES[40:60]
STAGES = section_settings("stages", {"min_cells": 3})
STATISTICS = section_settings("statistics")


def gene_table(rng):
    """`contribution` of all components and `attention` of heads; a module leads (0, head1)."""
    parts = []
    for block, component in COMPONENTS:
        for view in ("contribution", *["attention"] * (component != "mlp")):
            z = pd.Series(rng.normal(size=200), GENES)
            if (block, component, view) == (0, "head1", "contribution"):
                z[MODULE[:15]] += 6
            table = z.rename_axis("gene").reset_index(name="z")
            parts.append(table.assign(block=block, component=component, view=view))
    off = parts[0].assign(block=1, component="head1", z=0.0)  # a head that is off
    return pd.concat([*parts, off], ignore_index=True)


def libraries():
    axes = {"MODULE": MODULE, "OTHER": GENES[100:115], "THIRD": GENES[:30]}
    return {"ad_axes": axes, "more": {f"SET{i}": GENES[i : i + 20] for i in range(0, 180, 9)}}


def donor_tables(rng, n=24):
    names = [f"d{i:02d}" for i in range(n)]
    facts = pd.DataFrame({"donor_id": names, "split": ["discovery", "test"] * (n // 2)})
    facts[FACTS] = rng.normal(5, 1, (n, len(FACTS)))
    facts["adnc"], facts["sex"] = np.arange(n) % 4, "female"
    facts = facts.assign(is_reference=False, region="all", assay_shares="{}", age_censored=False)
    facts = facts.assign(median_genes=rng.normal(900, 80, n), pct_mito=rng.uniform(1, 3, n))
    data = pd.concat(
        [
            facts.assign(depth=depth, candidate_id=name, cell_class=kind, cell_type=cell_type)
            for depth in ("as measured", "thinned")
            for name in ("a", "b")
            for kind in ("glia", "neuron")
            for cell_type in ("all", "Sst")
        ]
    ).assign(contribution=1.0, spike=2.0, n_cells=9)
    activity = []
    for block, component in COMPONENTS:
        for kind in ("glia", "neuron"):
            measures = rng.normal(0, 0.2, (n, 3))
            if (block, component, kind) == (1, "head0", "glia"):
                measures[:, 0] += 0.5 * facts["adnc"]
            table = pd.DataFrame(measures, columns=list(MEASURES)).assign(
                donor_id=names, cell_class=kind, region="all", n_cells=9, effect_cells=9
            )
            table = table.assign(block=block, component=component, depth="as measured")
            gone = {"contribution": rng.normal(0, 0.2, n), "effect_nll": np.nan}
            activity += [table, table.assign(depth="thinned", **gone)]
    activity = pd.concat(activity, ignore_index=True)
    model = {"cohort": "one", "arm": "real", "seed": 0}
    return activity.assign(**model), data.assign(**model)


def test_a_planted_module_is_the_pathway_of_its_head_alone():
    settings = section_settings("enrich", {"top_genes": 20, "min_size": 5})
    table = pathways(gene_table(np.random.default_rng(0)), libraries(), settings)
    found = table[table["q"] < 0.05]
    assert set(zip(found["block"], found["component"], strict=True)) == {(0, "head1")}
    axis = found[found["library"] == "ad_axes"]
    assert axis["gene_set"].tolist() == ["MODULE"] and axis["primary"].all()
    assert axis["share_of_components"].item() == 1 / 4
    row = axis.iloc[0]
    drawn = 20
    expected = hypergeom.sf(row["n_overlap"] - 1, 200, 20, drawn)
    assert row["n_overlap"] >= 15 and row["p"] == pytest.approx(expected)


def test_a_family_is_all_components_and_sets_of_a_view_and_library():
    settings = section_settings("enrich", {"top_genes": 20, "min_size": 5})
    table = pathways(gene_table(np.random.default_rng(0)), libraries(), settings)
    sizes = table.groupby(["view", "library"]).size().to_dict()
    assert sizes["contribution", "ad_axes"] == 4 * 3 and sizes["attention", "more"] == 3 * 20
    for _, own in table.groupby(["view", "library"]):
        assert own["q"].to_numpy() == pytest.approx(multipletests(own["p"], method="fdr_bh")[1])
    assert not table["primary"][table["view"].eq("attention")].any()
    assert (1, "head1") not in set(zip(table["block"], table["component"], strict=True))


def test_a_planted_stage_is_found_in_its_component_and_class_alone():
    activity, data = donor_tables(np.random.default_rng(1))
    table = component_stages(activity, data, STAGES, STATISTICS)
    primary = table[table["primary"]]
    assert set(primary["stage"]) == {"adnc"} and set(primary["measure"]) == {"contribution"}
    found = primary[primary["q"] < 0.05]
    assert found[["block", "component", "cell_class"]].values.tolist() == [[1, "head0", "glia"]]
    assert found["survives_thinning"].tolist() == ["no"]  # it followed depth: see donor_tables
    own = activity[
        activity["depth"].eq("as measured")
        & activity["block"].eq(1)
        & activity["component"].eq("head0")
        & activity["cell_class"].eq("glia")
    ]
    facts = data[data["cell_type"].eq("all")].drop_duplicates("donor_id")
    measured = own[["donor_id", "contribution"]].merge(
        facts.drop(columns="contribution"), on="donor_id"
    )
    expected = stage_slope(
        measured, "contribution", "adnc", STAGES.covariates, donors_per_term=10, min_donors=10
    )
    assert found["beta"].item() == pytest.approx(expected["beta"])
    assert found["p"].item() == pytest.approx(expected["p"])
    for _, family in primary.groupby(["stage", "measure"]):
        expected = multipletests(family["p"], method="fdr_bh")[1]
        assert family["q"].to_numpy() == pytest.approx(expected)


def test_regions_of_one_donor_are_no_donors_of_their_own():
    activity, data = donor_tables(np.random.default_rng(1))
    # Mixed models take time: one component in one class.
    activity = activity.query("block == 1 and component == 'head0' and cell_class == 'glia'")
    regions = ("MTG", "DLPFC")
    by_region = pd.concat([activity.assign(region=region) for region in regions])
    noise = np.random.default_rng(2).normal(0, 0.05, (len(by_region), 3))
    by_region[list(MEASURES)] += noise
    data = pd.concat([data, *[data.assign(region=region) for region in regions]])
    table = component_stages(by_region.reset_index(drop=True), data, STAGES, STATISTICS)
    row = table.query("primary and block == 1 and component == 'head0' and cell_class == 'glia'")
    assert row["n_donors"].item() == 24 and row["n_regions"].item() == 2
    assert "mixed-model" in row["null"].item()


def test_donors_with_few_cells_take_no_part():
    activity, data = donor_tables(np.random.default_rng(1))
    few = activity.assign(n_cells=2)
    table = component_stages(few, data, STAGES, STATISTICS)
    tested = table[table["status"] == "tested"]
    assert set(tested["measure"]) == {"effect_nll"}  # its own cells are enough
    assert table.loc[table["measure"] == "contribution", "reason"].str.contains("no held-out").all()


def test_the_step_writes_both_tables(tmp_path, write):
    rng = np.random.default_rng(2)
    genes = gene_table(rng).assign(cohort="one", arm="real", seed=0)
    activity, data = donor_tables(rng)
    files = write(components=genes, component_donors=activity, donor_scores=data)
    lines = [f"{name}\t\t" + "\t".join(sets) for name, sets in libraries()["ad_axes"].items()]
    (tmp_path / "ad_axes.gmt").write_text("\n".join(lines))
    enrich = section_settings("enrich", {"gene_sets": [str(tmp_path / "ad_axes.gmt")]})
    link_components(*files, tmp_path / "out", enrich=enrich, stages=STAGES, statistics=STATISTICS)
    for name in ("component_pathways", "component_stages"):
        table = read_table(tmp_path / "out" / f"{name}.parquet")
        assert list(table.columns[:5]) == ["cohort", "arm", "seed", "block", "component"]
        assert len(table)
    write(component_donors=activity.assign(seed=1))
    with pytest.raises(ScswError, match="more than one model"):
        link_components(
            *files, tmp_path / "other", enrich=enrich, stages=STAGES, statistics=STATISTICS
        )
    assert not (tmp_path / "other").exists() or not list((tmp_path / "other").glob("*.parquet"))


def test_no_gene_and_no_set_give_empty_tables(tmp_path, write):
    rng = np.random.default_rng(2)
    genes = gene_table(rng).assign(cohort="one", arm="real", seed=0)
    activity, data = donor_tables(rng)
    files = write(components=genes.assign(z=np.nan), component_donors=activity, donor_scores=data)
    enrich = section_settings("enrich", {"gene_sets": []})
    link_components(*files, tmp_path / "out", enrich=enrich, stages=STAGES, statistics=STATISTICS)
    assert read_table(tmp_path / "out" / "component_pathways.parquet").empty
