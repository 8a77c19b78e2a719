"""Prose of runs in which something is missing."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pandas as pd
import pytest

from scsw.report import limits
from scsw.report.figures import pathways, replication
from scsw.report.methods import methods_text
from scsw.report.names import AD_GENES, figure_names
from scsw.report.numbers import _libraries, collect
from scsw.report.page import page
from scsw.report.provenance_records import read_records
from scsw.report.sections import SECTIONS
from scsw.report.tables import read_tables
from tests.report.prose import unsupported
from tests.report.tables import Shape, write_run

TINY = {"seeds": (0,), "arms": (), "n_candidates": 1, "n_types": 2, "n_controls": 5}


def told(tmp_path, **given):
    """Return tables, numbers and readings by section of an invented run."""
    run = write_run(tmp_path, Shape(**(TINY | given)))
    tables = read_tables(run.folder, config=run.config, cohort=run.cohort)
    records = read_records(run.folder, tables.config, tables.cohort)
    numbers = collect(tables, records)
    html = page(tables, numbers, records, {})
    read = {
        name: " ".join(module.reading(numbers["sections"][name]))
        for name, (_, module) in SECTIONS.items()
    }
    for text in [*read.values(), *limits.sentences(numbers)]:
        assert unsupported(text, numbers) == []
    assert not re.search(r"\bnan\b|\bNaN\b|\bNone\s*[<,;.)]", html)
    return tables, numbers, read


def test_no_arms_no_replication_no_components(tmp_path):
    tables, numbers, read = told(tmp_path, components=False)
    assert "no control arms" in read["controls"]
    assert "one cohort" in read["replication"]
    assert "map.components is off" in read["components"]
    names = figure_names(tables.config, tables.cohort)
    assert not {"controls", "replication", "components"} & set(names)
    said = limits.sentences(numbers)
    assert any("No weight was implanted" in sentence for sentence in said)
    assert any("nothing is found where nothing is" in sentence for sentence in said)
    assert any("nothing was replicated" in sentence for sentence in said)
    assert any(sentence.startswith("seeds is 0 (default 0, 1, 2)") for sentence in said)
    assert said[0].startswith("The data are simulated.")
    assert "There were no control models." in methods_text(numbers)


def test_no_pathways_and_no_tested_stage(tmp_path):
    _, numbers, read = told(tmp_path, pathways=False, stages_tested=False)
    assert "Three measures" not in methods_text(numbers)
    assert read["pathways"] == "No gene set was tested."
    assert read["stages"].startswith("Nothing could be tested: no held-out donor has")


def test_not_assessable(tmp_path):
    _, numbers, read = told(tmp_path, verdicts={0: "not assessable"})
    assert "1 “not assessable”" in read["pruning"]
    assert "no interval available" in read["pruning"]
    reason = "4 test donors, at least 10 are needed"
    assert numbers["verdict_sentence"] == f"Not assessable in simcohort (simulated): {reason}."
    said = limits.sentences(numbers)
    assert f"1 candidate could not be assessed: {reason}." in said


def test_masked_pairs_recovery_and_unresolved_effects_are_told(tmp_path):
    tables, numbers, read = told(tmp_path, n_candidates=3)
    assert "Of 2 pairs of candidates zeroed together, none is a masked pair" in read["pruning"]
    assert "Spearman correlations: spike ratio of its row" in read["pruning"]
    assert "random weights (seed 0; of 50 the effect is above" in read["pruning"]
    assert "beyond pairs of the best 10 candidates" in " ".join(limits.sentences(numbers))
    tables.pairs.loc[0, "masked"] = True
    tables.verdicts.loc[:1, ["verdict", "unresolved"]] = ["masked pair", True]
    module = SECTIONS["pruning"][1]
    text = " ".join(module.reading(module.numbers(tables)))
    assert "2 “masked pair”" in text and "1 is a masked pair: ffn_down" in text
    assert "The effects of 2 are unresolved" in text
    tables.pairs.loc[1, "masked"] = True
    assert "2 are masked pairs" in " ".join(module.reading(module.numbers(tables)))


def test_how_far_the_least_effect_could_move_is_told(tmp_path):
    given = {"n_candidates": 3, "min_effect": 0.05}
    tables, _, read = told(tmp_path, verdicts={0: "not causal"}, **given)
    assert "here 5 % of the gap; whatever it were, no candidate would be causal" in read["pruning"]
    module = SECTIONS["pruning"][1]

    def text() -> str:
        return " ".join(module.reading(module.numbers(tables)))

    tables.verdicts.loc[1, "causal_below"] = 0.01
    name = tables.verdicts.loc[1, "candidate_id"]
    assert "with any other above 1 % none would be causal. Below 1 %, " + name in text()
    tables.verdicts.loc[0, ["verdict", "causal"]] = ["causal, constant", True]
    tables.verdicts.loc[0, "causal_below"] = 0.2
    assert "with any other from 1 % to 20 % the same candidates would be causal" in text()
    tables.verdicts["verdict"] = "not assessable"
    assert "is a choice" not in text()


def test_cells_and_donors_behind_an_effect_are_told(tmp_path):
    _, numbers, read = told(tmp_path)
    cells = numbers["sections"]["pruning"]["n_test_cells"]
    effects = pd.read_parquet(tmp_path / "simcohort/real/0/prune/effects.parquet")
    own = effects.query("weight_set == 'candidate' and mode == 'zero'")
    assert cells == own.groupby("candidate_id")["n_cells"].sum().max()
    assert f"measured on {cells:,} cells of 4 test donors" in read["pruning"]
    top = numbers["sections"]["collapse"]
    assert f"({top['n_cells']} cells of {top['n_donors']} test donors)" in read["collapse"]
    assert "As the largest of 2 values it is likely too large" in read["collapse"]


def test_candidates_of_other_families_are_told_of_without_a_verdict(tmp_path):
    tables, _, read = told(tmp_path)
    text = read["pruning"]
    assert "1 weights of the attention's output, 1 whole rows of linear2 and 1 channels' γ" in text
    assert "is that of norm_gamma.b0.r3.c- (seed 0): +0.03 nats per cell" in text
    assert "the largest of 5 others of its kind and block is +0.02 (rank p = 0.01)" in text
    assert "1 of 3 have q at most 0.05" in text and "none of these has a verdict" in text
    tables.family_effects.drop(index=tables.family_effects.index, inplace=True)
    module = SECTIONS["pruning"][1]
    assert "Beside single weights" not in " ".join(module.reading(module.numbers(tables)))


@pytest.mark.parametrize(
    "kinds", [["Sst", "Sst Chodl", "Chandelier"], ["Basal Cholinergic", "Sst"]]
)
def test_a_cohort_without_cholinergic_cells_says_so(tmp_path, kinds):
    _, numbers, _ = told(tmp_path, type_names=tuple(kinds))
    said = any(
        "No cell type of this cohort is labelled as cholinergic" in sentence
        for sentence in limits.sentences(numbers)
    )
    assert said == (kinds[0] == "Sst")


def test_seeds_are_told_one_by_one():
    module = SECTIONS["pruning"][1]
    rows = [(0, 1, "a", True), (0, 2, "b", False), (1, 1, "b", True), (1, 2, "a", True)]
    verdicts = pd.DataFrame(rows, columns=["seed", "rank", "candidate_id", "causal"])

    def told_of(starts):
        summary = pd.DataFrame({"arm": "real", "start": starts})
        tables = SimpleNamespace(verdicts=verdicts, seeds=[0, 1, 2], spike_summary=summary)
        return module._told_by_seed(module._by_seed(tables))

    assert told_of(["one"] * 3) == [
        "Seed by seed: a is causal in 2 of 3 seeds (a candidate in 2) and b is causal in 1 of 3 "
        "seeds (a candidate in 2)."
    ]
    (apart,) = told_of(["seed 0", "seed 1", "seed 2"])
    assert apart.endswith("seed by seed: 1 in seed 0, 2 in seed 1 and 0 in seed 2.")
    verdicts["causal"] = False
    assert told_of(["one"] * 3) == []


def test_what_is_like_the_strongest_candidate_is_told(tmp_path):
    tables, _, read = told(tmp_path)
    assert "the strongest of 20 weights of the nearest |w|·mean |h|" in read["pruning"]
    assert "an edit of equal size in another channel" in read["pruning"]
    tables.verdicts[["wanda_n", "row_neighbour_n", "noise_n"]] = 0
    module = SECTIONS["pruning"][1]
    assert "What is like" not in " ".join(module.reading(module.numbers(tables)))


def test_the_methods_say_which_grades_are_held_against_noise(tmp_path):
    _, numbers, _ = told(tmp_path)
    assert "An informative one must also do more harm" in methods_text(numbers)
    numbers["config"]["prune"]["noise_rule"] = "all"
    text = methods_text(numbers)
    assert "Either must also do more harm than edits of equal L2 norm in 20 other channels" in text
    assert "Sun M et al." in text


def test_no_candidate(tmp_path):
    _, numbers, read = told(tmp_path, n_candidates=0, seeds=(0, 1))
    assert "froze no candidate" in read["pruning"]
    assert read["genes"] == "No candidate was mapped to genes."
    assert "found no candidate" in numbers["verdict_sentence"]
    assert read["spikes"].endswith("the search froze no candidate.")
    assert "of candidates" not in read["stage_order"]
    assert "on 4 test donors" in methods_text(numbers)
    assert not re.search(r"not share a start|different weights", " ".join(read.values()))


def test_a_failed_control_is_said_loudly(tmp_path):
    _, numbers, read = told(tmp_path, arms=("shuffled", "pretrained"), failed=("shuffled",))
    assert "FAILED: “shuffled labels”" in read["controls"]
    assert "Read this with caution" in numbers["verdict_sentence"]
    controls = numbers["sections"]["controls"]
    assert controls["undecided"] == [] and controls["n_arms"] == 1  # pretrained only compares
    said = "Of 1 control arm, 0 came out as expected, 1 did not."
    assert read["controls"].startswith(said)
    said = limits.sentences(numbers)
    assert not any("nothing is found where nothing is" in sentence for sentence in said)
    assert not numbers["limits"]["from_scratch"]  # the arm `pretrained` has a checkpoint
    assert "model.embsize" not in [row["key"] for row in numbers["reductions"]]


def test_known_ad_genes_are_told_of_even_when_none_was_scored(tmp_path):
    tables, numbers, read = told(tmp_path, genes_of_top=())
    named = "APP, PSEN1, PSEN2, MAPT, TREM2, APOE, IL1B and FOXO3"
    assert f"None of the known AD genes was scored ({named})." in read["genes"]
    assert "not shown to matter" in read["genes"]
    for view in numbers["sections"]["genes"]["views"]:
        assert [row["gene"] for row in view["named"]] == list(AD_GENES)
        assert all(row["z"] is None for row in view["named"])
    html = page(tables, numbers, read_records(tmp_path, tables.config, tables.cohort), {})
    for gene in AD_GENES:
        assert f'<tr><th scope="row">{gene}</th><td class="number">not scored</td>' in html


def test_known_ad_genes_that_were_scored_are_told_beside_those_that_were_not(tmp_path):
    _, numbers, read = told(tmp_path, genes_of_top=("APP", "APOE"))
    assert "Not scored: PSEN1, PSEN2, MAPT, TREM2, IL1B and FOXO3." in read["genes"]
    named = {row["gene"]: row for row in numbers["sections"]["genes"]["views"][0]["named"]}
    assert named["APP"]["place"] >= 1 and named["APOE"]["q"] > 0 and named["MAPT"]["z"] is None


def test_sets_are_told_against_random_genes_and_against_controls(tmp_path):
    _, numbers, read = told(tmp_path, n_candidates=2)
    ora = numbers["sections"]["pathways"]["methods"]["ora"]
    assert 0 < ora["n_enriched"] < ora["n_passed"] == ora["n_passed_compared"]
    assert "also stand out from the 1,000 matched controls" in read["pathways"]
    assert "The primary sets (16 for each of 4 pairs of candidate and view" in read["pathways"]
    assert "the smallest possible 0.000999" in read["pathways"]
    assert "These are fewer" not in read["pathways"] and "few controls" not in read["pathways"]
    assert "AD_AMYLOID_PROCESSING and AD_GWAS_2022, with 2 genes of 70 and 80" in read["pathways"]
    said = methods_text(numbers)
    assert "matched controls of each candidate (1,000; read-in: hidden units" in said
    assert "Storey JD" in said


def test_few_controls_and_none_are_told(tmp_path):
    _, _, read = told(tmp_path / "few", n_unit_controls=50)
    assert "These are fewer than 1,000, so an empirical p is coarse" in read["pathways"]
    assert "In 2 families no single set could have reached q" in read["pathways"]
    tables, numbers, read = told(tmp_path / "none", n_unit_controls=0)
    assert "No candidate was compared with control units" in read["pathways"]
    assert "The primary sets" not in read["pathways"]
    assert "matched controls of each candidate" not in methods_text(numbers)
    assert len(pathways.draw(tables).axes) == 4  # two panels and their colour bars


def test_a_model_below_the_baselines_is_told_of(tmp_path):
    tables, _, _ = told(tmp_path)
    worse = tables.performance.assign(
        donor_mean=lambda t: t["donor_mean"].where(t["predictor"] != "scgpt", 0.1)
    )
    tables.performance.loc[:] = worse
    module = SECTIONS["finetuning"][1]
    text = " ".join(module.reading(module.numbers(tables)))
    assert "1 model did no better than the most common type" in text
    own = tables.performance.query("metric == 'accuracy' and predictor == 'scgpt'")
    bounds = f"{own['donor_low'].min():.3g} to {own['donor_high'].max():.3g}"
    assert f"(95 % interval over donors {bounds})" in text
    assert "stayed below logistic regression" in text


@pytest.mark.parametrize("source", ["sea_ad", "rosmap_mathys_2019", "cellxgene"])
def test_methods_cite_what_they_use(tmp_path, source):
    tables, numbers, _ = told(tmp_path, arms=("shuffled",))
    tables.about["source"] = source
    numbers["sections"]["cohort"]["source"] = source
    text = methods_text(numbers)
    body, references = text.split("## References")
    assert text.startswith("# Methods (simulated data)\n\nCohort simcohort: simulated data")
    for short, long in {"sea_ad": "Gabitto", "rosmap_mathys_2019": "Mathys"}.items():
        assert (long in references) == (long in body) == (short == source)
    for author in ("Cui", "Yu M", "Benjamini", "Subramanian"):
        assert author in references
    assert "(null: random weights of the same tensor)" in body
    assert "OLS t-test of the stage slope" in body and "hypergeometric" in body
    assert "  " not in body and " ." not in body and "{" not in body


def test_the_null_of_each_block_is_named_once(tmp_path):
    _, numbers, _ = told(tmp_path)
    numbers["nulls"]["verdicts"] = [
        f"500 random scalars of linear2, block {block}, set to zero" for block in (0, 11)
    ]
    text = methods_text(numbers)
    assert "(null: 500 random scalars of linear2, the candidate's block, set to zero)" in text


def test_what_a_stage_test_could_have_seen_is_told_as_a_share_of_variance(tmp_path):
    _, numbers, read = told(tmp_path)
    # 0.6 / 0.15 = 4 standard errors, with 16 degrees of freedom: 16 / (16 + 16).
    assert numbers["sections"]["stages"]["detectable_explains"] == pytest.approx(0.5)
    assert "which would explain 50 % of the variance that the covariates leave" in read["stages"]


def test_the_methods_name_cells_libraries_covariates_and_where_things_are(tmp_path):
    _, numbers, _ = told(tmp_path, cohorts=("simcohort", "other"))
    text = methods_text(numbers)
    pruned = numbers["sections"]["pruning"]
    assert f"on {pruned['n_test_cells']:,} cells of 4 test donors (at most 1,000 cells" in text
    assert "Gene sets (the 16 Alzheimer's axes of scsw, Hallmark (Liberzon et al. 2015; " in text
    assert "Covariates (median genes, age death, sex, assay, pmi, pct mito) were taken" in text
    assert "at least 10 donors" not in text and "there were 10 donors for each term" in text
    assert "Availability: the data are simulated." in text and "Liberzon A" in text
    numbers["simulated"] = False
    numbers["config"]["enrich"]["gene_sets"] = ["data/kegg.gmt"]
    numbers["libraries"] |= _libraries(numbers["config"]["enrich"])
    numbers["config"]["stages"]["covariates"] = []
    assert "The point of the pseudo-progression score" in text
    numbers["sections"]["stage_order"]["testable"] = False
    text = methods_text(numbers)
    assert "Gene sets (kegg; those with 10 to 500 scored genes)" in text
    assert "The point of the pseudo-progression score" not in text
    assert "Covariates (" not in text and "whose terms of use and words of" in text


def test_stage_tests_that_pass_are_named(tmp_path):
    tables, _, _ = told(tmp_path)
    primary = tables.stages["primary"].astype(bool)
    tables.stages.loc[primary, "q"] = [0.01] + [0.5] * (int(primary.sum()) - 1)
    module = SECTIONS["stages"][1]
    numbers = module.numbers(tables)
    assert (numbers["n_primary_passed"], len(numbers["passed"])) == (1, 1)
    assert "1 pass q < 0.05" in module.reading(numbers)[0]
    assert "association, not a cause" in module.reading(numbers)[0]


def test_covariates_left_out_for_one_reason_are_named_together(tmp_path):
    tables, _, _ = told(tmp_path)
    few, absent = "fewer than 10 donors per term", "missing for 2 donors"
    reason = f"left out: age_death ({few}); pmi ({absent}); sex ({few})"
    tables.stages["reason"] = reason
    module = SECTIONS["stages"][1]
    text = module.reading(module.numbers(tables))[1]
    assert f"median genes, age death (left out: age death and sex ({few}); pmi ({absent}))" in text


@pytest.mark.parametrize(
    ("thinned", "said"),
    [
        ({}, "the same is found for synapse."),
        ({"tau": 1.0}, "the same is found for synapse; tau changes there alone."),
        ({"synapse": 2.0}, "this does not hold for synapse."),
        ({"synapse": None}, "this does not hold for synapse."),
    ],
)
def test_axes_that_change_on_thinned_cells_are_named(thinned, said):
    module = SECTIONS["stage_order"][1]
    slopes = {"as measured": {"synapse": -1.0, "tau": None}}
    slopes["thinned"] = slopes["as measured"] | thinned
    rows = [
        {
            "depth": depth,
            "axis": axis,
            "status": "no change point" if slope is None else "change point",
            "slope": slope or 0.0,
        }
        for depth, own in slopes.items()
        for axis, slope in own.items()
    ]
    assert module._thinned(rows) == f"On cells thinned to one depth {said}"


def test_shares_of_resamples_are_told_to_be_no_p_values():
    order = {"order": "synapse → tau", "status": "supported", "probability": 0.97, "chance": 0.5}
    said = SECTIONS["stage_order"][1]._orders([order])
    assert said.startswith("Orders: synapse → tau in 97 % of donor resamples (50 % by chance;")
    assert "no p-value, and is not corrected for the number of orders" in said


def test_q_against_units_stands_beside_q_against_genes(tmp_path):
    tables, numbers, _ = told(tmp_path)
    tables.biomarkers.loc[0, ["read_in_z", "read_in_q", "read_in_unit_q"]] = [5.5, 1e-5, 0.79]
    tables.biomarkers.loc[1, ["read_in_z", "read_in_q", "read_in_unit_q"]] = [4.5, 2e-5, None]
    html = page(tables, numbers, read_records(tmp_path, tables.config, tables.cohort), {})
    assert "5.5 (1e−5; 0.79)" in html and "4.5 (2e−5; not tested)" in html
    view = next(v for v in numbers["sections"]["genes"]["views"] if v["ad_passed"])
    alike = "hidden units alike" if view["view"] == "read-in" else "the same change elsewhere"
    known = SECTIONS["genes"][1].reading(numbers["sections"]["genes"])[-2]
    assert f"q against {alike}" in known


def test_biomarker_table_is_shown_in_its_own_order(tmp_path):
    tables, numbers, _ = told(tmp_path)
    assert isinstance(tables.biomarkers, pd.DataFrame)
    html = page(tables, numbers, read_records(tmp_path, tables.config, tables.cohort), {})
    assert html.index('<th scope="row">APOE</th><td>') < html.index('<th scope="row">GENE1</th>')
    assert "stands out in read-in." not in html and "<i>statement</i> of biomarkers.tsv" in html


def test_replication_is_told_by_level_and_by_model(tmp_path):
    run = write_run(tmp_path, Shape(**(TINY | {"cohorts": ("simcohort", "other")})))
    tables = read_tables(
        run.folder, config=run.config, cohort=run.cohort, replication_dir=run.replication
    )
    genes = tables.replication["genes"]
    genes["q"] = 0.5
    genes.loc[genes.index[:3], "q"] = 0.01
    genes.loc[genes.index[:2], ["causal_a", "causal_b"]] = True
    module = SECTIONS["replication"][1]
    numbers = module.numbers(tables)
    said = module.reading(numbers)
    assert said[0].startswith("simcohort and other: Spikes or hidden units: median 0.4. No agree")
    assert "Of 3 matched pairs of candidates, 2 are causal in both cohorts" in said[1]
    keys = replication._kinds(tables, "pathways") | replication._kinds(tables, "stages")
    assert keys["reactome"].endswith(" sets)") and keys["adnc"].endswith(" classes)")
    assert replication._kinds(tables, "genes")["read_in"] == "read-in"
    assert "have the same sign in both cohorts (chance alone gives half" in said[1]
    assert "simcohort seed 0 and other seed 0 pass 1 of 2 (candidates), 3 of 6 (genes)" in said[2]
    assert [unsupported(text, numbers) for text in said] == [[], [], []]


def test_people_of_two_cohorts_are_no_replication(tmp_path):
    run = write_run(tmp_path, Shape(**(TINY | {"cohorts": ("simcohort", "other")})))
    tables = read_tables(
        run.folder, config=run.config, cohort=run.cohort, replication_dir=run.replication
    )
    module = SECTIONS["replication"][1]
    assert "independent" not in module.reading(module.numbers(tables))[1]
    for table in tables.replication.values():
        table["n_shared_donors"] = 7
    text = module.reading(module.numbers(tables))[1]
    assert "7 donors of this cohort are in other as well" in text


def test_genes_against_diagnosis_elsewhere_are_told(tmp_path):
    tables, numbers, read = told(tmp_path, n_candidates=3, bulk=("adni",))
    assert "In adni (bulk blood; AD: ADNC" in read["external"]
    assert "Blood is not brain" in read["external"]
    reach = numbers["sections"]["external"]["reach"]
    genes = tables.external[tables.external["test"] == "gene"]
    assert reach == pytest.approx((genes["effect_high"] - genes["effect_low"]).median() / 2, 1e-5)
    assert f"intervals reach {reach:.3g} standard deviations" in read["external"]
    assert (
        "In adni, differences are adjusted for rin at most, not for age and sex."
        in read["external"]
    )
    assert "random sets of genes matched" in methods_text(numbers)
    sets = tables.external["test"] == "set"
    tables.external.loc[sets, "q"] = 0.5
    first = tables.external[sets].index[:4]  # two sets, each against both nulls
    tables.external.loc[first[:3], "q"] = 0.01
    module = SECTIONS["external"][1]
    numbers = module.numbers(tables)
    assert numbers["n_sets_passed"] == 1  # a set that passes one null alone does not
    assert "1 differ by diagnosis more" in module.reading(numbers)[0]


def test_nothing_external_is_told_in_one_line(tmp_path):
    tables, numbers, read = told(tmp_path)
    assert read["external"].startswith("The run has no external cohort")
    assert "external" not in figure_names(tables.config, tables.cohort)
    assert "diagnosis" not in methods_text(numbers)


def test_too_few_people_elsewhere_are_told(tmp_path):
    _, _, read = told(tmp_path, bulk=("adni",), stages_tested=False)
    assert "2 sets could not be tested" in read["external"]
    assert "adjusted" not in read["external"]
    assert "4 people have a diagnosis" in read["external"]


def test_a_spatial_readout_is_told(tmp_path):
    tables, numbers, read = told(tmp_path, n_candidates=3, spatial="go on")
    text = read["spatial"]
    assert "Cut to the 121 genes" in text and "accuracy of 62 % (all genes: 91 %" in text
    assert "In the tissue it is 58 % over 14 donors" in text
    assert "Depth is the normalised depth from pia." in text
    assert "1 AD axis could not be scored" in text and "not measured expression" in text
    assert "121 genes shared with merfish" in methods_text(numbers)
    assert "spatial" in figure_names(tables.config, tables.cohort)


def test_a_panel_that_tells_too_little_is_told(tmp_path):
    _, numbers, read = told(tmp_path, spatial="stop")
    assert "The spatial read-out stopped there: on the panel's 20 genes" in read["spatial"]
    assert "no tissue was looked at" in methods_text(numbers)


def test_no_spatial_data_is_told_in_one_line(tmp_path):
    tables, numbers, read = told(tmp_path)
    assert read["spatial"].startswith("The run has no spatial data")
    assert "spatial" not in figure_names(tables.config, tables.cohort)
    assert "tissue" not in methods_text(numbers)


def test_too_few_tissue_donors_are_told(tmp_path):
    _, _, read = told(tmp_path, spatial="few")
    assert "3 donors outside training; 10 are needed" in read["spatial"]


def test_planted_genes_are_told_of_in_simulated_cohorts_only(tmp_path):
    tables, numbers, read = told(tmp_path)
    assert "78 genes to disease stage" in read["biomarkers"]
    assert "rank before other genes in 1 of 1 candidate" in read["biomarkers"]
    module = SECTIONS["biomarkers"][1]
    worse = tables.gene_ranks["combined_rank"]
    tables.gene_ranks["combined_rank"] = worse.max() + 1 - worse
    assert "not recovered" in " ".join(module.reading(module.numbers(tables)))
    tables.about["simulated"] = False
    assert "simulator" not in " ".join(module.reading(module.numbers(tables)))
    assert numbers["sections"]["biomarkers"]["grades"][1]["genes"] == ["APOE", "GENE1"]


def test_without_a_gene_that_passes_no_candidate_biomarker_is_claimed(tmp_path):
    _, _, read = told(tmp_path)
    assert "By this run no gene is a candidate biomarker" in read["biomarkers"]
    assert "The other nulls take genes as independent" in read["biomarkers"]
    assert "as some genes of every candidate do, so alone it means nothing" in read["biomarkers"]
    assert "0 “supported”" in read["biomarkers"]
    assert "FOXO3" in read["biomarkers"]
