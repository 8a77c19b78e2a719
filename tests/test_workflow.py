"""The workflow as a whole: dry runs here, real runs on tiny cohorts marked slow."""

import json
import re

import pytest

from scsw.files import read_table
from tests.workflow_runs import FEW, ROOT, checkout, planned, snakemake, without, write_config

__all__ = ["checkout"]  # a fixture
TINY_COHORT = {"donors": 40, "nuclei_per_donor": 12, "genes": 400}
TINY = {
    "run": "tiny",
    "simulated": True,
    "cohorts": [
        {
            "name": "a",
            "source": "sea_ad",
            "path": "results/tiny/simulated/a.h5ad",
            "simulate": {**TINY_COHORT, "cell_types": 3, "seed": 1},
            "seeds": [0, 1],
        },
        {
            "name": "b",
            "source": "rosmap",
            "path": "results/tiny/simulated/b",
            "simulate": {**TINY_COHORT, "cell_types": 3, "seed": 2},
            "seeds": [0],
            "control_arms": [],
        },
    ],
    "control_arms": ["untrained", "implanted_constant"],
    "preprocess": {
        "min_genes": 20,
        "min_counts": 20,
        "min_cells_per_type": 5,
        "vocabulary": "cohort",
    },
    "model": {"embsize": 16, "nheads": 2, "d_hid": 24, "nlayers": 2, "max_seq_len": 24},
    "finetune": {"epochs": 2, "lr": 0.003, "evaluations": 2},
    "search": {"max_candidates": 4, "first_order": 1, "first_order_top": 20, "gradient_cells": 16},
    "prune": {"n_controls": 79, "control_scope": "all_blocks", "shards": 2, **FEW},
    "quantize": {"bits": [4], "block_sizes": [16, 0], "random_draws": 1},
    "statistics": {"bootstrap": 300},
    "map": {"min_cells": 5, "n_controls": 20, "n_write_out_controls": 20},
    "enrich": {
        "gene_sets": ["resources/gene_sets/hallmark.gmt"],
        "min_size": 3,
        "prerank_large_candidates": 0,
        "permutations": 20,
        "max_candidates": 1,
    },
    "stages": {"min_cells": 2},
    "replicate": {"permutations": 200},
    "compute": {"device": "cpu"},
}

# The same with blood expression and tissue in the layouts of ADNI and of SEA-AD's MERFISH.
WHOLE = TINY | {
    "external": {"permutations": 99, "bulk": [{"name": "adni", "path": "adni"}]},
    "spatial": {"path": "merfish.h5ad"},
}


@pytest.fixture(scope="module")
def tiny(checkout):
    """Return the checkout after a whole tiny run."""
    write_config(checkout / "tiny.yaml", WHOLE)
    result = snakemake("--configfile", "tiny.yaml", cwd=checkout)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-6000:]
    return checkout


def test_the_snakefile_is_a_table_of_contents():
    assert len((ROOT / "Snakefile").read_text().splitlines()) < 40


def test_the_default_plans_every_step_for_both_cohorts():
    result = snakemake("--dry-run", "--forceall")
    steps = (
        "preprocess init implant finetune search prune quantize verdict controls map components "
        "link_components enrich stages gather replicate external biomarkers report simulate_sea_ad "
        "simulate_rosmap"
    )
    assert set(steps.split()) <= planned(result)
    # One shard is one job.
    assert not {"search_screen", "search_slopes", "enrich_shard"} & planned(result)
    text = result.stdout + result.stderr
    n_jobs = {}
    for line in text.split("Job stats:")[1].split("total")[0].splitlines()[3:]:
        if len(line.split()) == 2:
            n_jobs[line.split()[0]] = int(line.split()[1])
    models = sum(n_jobs[rule] for rule in "init implant finetune search prune map".split())
    assert models <= 35


def test_a_search_in_shards_is_scattered_and_gathered(tmp_path):
    """Each model has one screen, and as many jobs for its slopes as there are shards."""
    search = TINY["search"] | {"shards": 3}
    config = write_config(tmp_path / "shards.yaml", TINY | {"search": search, "run": "shards"})
    result = snakemake("--dry-run", "--configfile", config)
    assert {"search_screen", "search_slopes", "search"} <= planned(result)
    counts = dict(
        line.split()
        for line in result.stdout.splitlines()
        if re.fullmatch(r"search\w*\s+\d+", line)
    )
    models = int(counts["search"])
    assert models > 0 and counts == {
        "search": str(models),
        "search_screen": str(models),
        "search_slopes": str(3 * models),
    }


def test_an_enrichment_in_shards_is_scattered_and_gathered(tmp_path):
    enrich = TINY["enrich"] | {"shards": 4}
    config = write_config(tmp_path / "shards.yaml", TINY | {"enrich": enrich, "run": "shards"})
    result = snakemake("--dry-run", "--configfile", config)
    assert {"enrich_shard", "enrich"} <= planned(result)
    counts = dict(
        line.split()
        for line in result.stdout.splitlines()
        if re.fullmatch(r"enrich\w*\s+\d+", line)
    )
    assert counts == {"enrich": "3", "enrich_shard": "12"}  # of the three fine-tuned models


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"serch": {}}, "'serch' was unexpected"),
        (
            {"cohorts": [{"name": "x", "source": "adni2", "path": "p"}]},
            "the source 'adni2' is unknown",
        ),
        ({"prune": {"n_controls": 3}}, "no candidate could ever be causal"),
        ({"cohorts": [{"name": "x", "path": "resources"}]}, "which is no known layout"),
        ({"biomarkers": {"gwas_set": "NONE"}}, "has no gene set NONE"),
    ],
)
def test_a_wrong_config_stops_before_any_job_without_a_traceback(tmp_path, change, text):
    path = write_config(tmp_path / "wrong.yaml", TINY | change)
    result = snakemake("--dry-run", "--configfile", path)
    assert result.returncode != 0
    shown = result.stdout + result.stderr
    assert text in shown and "Traceback" not in shown


def test_of_two_sections_of_one_name_none_is_lost(tmp_path):
    path = write_config(tmp_path / "twice.yaml", TINY)
    path.write_text(path.read_text() + "\nprune: {shards: 2}\n")
    result = snakemake("--dry-run", "--configfile", path)
    assert result.returncode != 0 and "`prune` stands twice" in result.stdout + result.stderr


def test_no_cores_is_a_message_and_not_an_endless_wait():
    result = snakemake("--cores", "0")
    assert result.returncode != 0 and "--cores is 0" in result.stdout + result.stderr


def test_a_log_may_lie_in_a_folder_with_a_space():
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        assert "&> {log}" not in path.read_text(), f"{path.name}: write {{log:q}}"


@pytest.mark.slow
def test_a_tiny_run_reaches_the_report_of_each_cohort(tiny):
    run = tiny / "results" / "tiny"
    for cohort in "ab":
        page = (run / cohort / "report.html").read_text()
        assert "simulated" in page
        numbers = json.loads((run / cohort / "numbers.json").read_text())
        assert numbers["simulated"] is True and numbers["verdict_sentence"]
        assert list((run / cohort / "figures").glob("*.svg"))
    for record in run.rglob("*.provenance.json"):
        assert json.loads(record.read_text())["simulated"] is True, record
    rounded = sorted(path.parent.parent.parent.name for path in run.rglob("quantization.parquet"))
    assert rounded == ["implanted_constant", "real", "real", "real"]
    verdicts = read_table(run / "a" / "verdicts.parquet")
    arms = verdicts.groupby("arm")["seed"].nunique().to_dict()
    assert arms == {"real": 2, "untrained": 1, "implanted_constant": 1}
    assert len(read_table(run / "replication" / "genes.parquet"))
    elsewhere = read_table(run / "a" / "external.parquet")
    tissue = read_table(run / "a" / "spatial.parquet").set_index("measure")
    assert tissue.loc["share_kept", "status"] in ("go on", "stop")
    assert set(elsewhere["external"]) == {"adni", "b"} and set(elsewhere["seed"]) == {0, 1}
    assert not list(run.rglob("*.part"))


@pytest.mark.slow
def test_a_second_run_does_nothing(tiny):
    result = snakemake("--configfile", "tiny.yaml", cwd=tiny)
    assert "Nothing to be done" in result.stdout + result.stderr


@pytest.mark.slow
def test_editing_a_steps_code_reruns_it_and_what_follows(tiny):
    path = tiny / "scsw" / "superweight" / "first_order.py"
    original = path.read_text()
    path.write_text(original + "\n# edited\n")
    try:
        steps = planned(snakemake("--dry-run", "--configfile", "tiny.yaml", cwd=tiny))
    finally:
        path.write_text(original)
    after = "search prune quantize verdict controls map components link_components enrich stages "
    after += "external spatial gather replicate biomarkers report all"
    assert steps == set(after.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("section", "change", "expected"),
    [
        (
            "enrich",
            {"top_genes": 50},
            "components link_components enrich external gather replicate biomarkers report all",
        ),
        (
            "statistics",
            {"bootstrap": 400},
            "verdict map components link_components stages enrich external controls gather "
            "replicate biomarkers report all",
        ),
        ("replicate", {"seed": 7}, "replicate biomarkers report all"),
        ("quantize", {"random_draws": 2}, "quantize report all"),
        ("external", {"seed": 7}, "external report all"),
        ("spatial", {"min_kept": 0.4}, "spatial report all"),
        ("preprocess", {"memory_gb": 2}, "report all"),
        ("finetune", {"save_minutes": 1}, "report all"),
        ("compute", {"loader_workers": 1, "activation_checkpointing": True}, "report all"),
    ],
)
def test_changing_a_parameter_reruns_what_depends_on_it(tiny, section, change, expected):
    changed = {**WHOLE, section: {**WHOLE.get(section, {}), **change}}
    write_config(tiny / "changed.yaml", changed)
    steps = planned(snakemake("--dry-run", "--configfile", "changed.yaml", cwd=tiny))
    assert steps == set(expected.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"columns": {"cell_type": "no such column"}}, "no such column"),
        ({"path": "text.h5ad"}, "text.h5ad"),
    ],
)
def test_a_users_mistake_stops_at_preprocess_with_one_message(tiny, change, text):
    (tiny / "text.h5ad").write_text("not an HDF5 file")
    cohort = without(TINY["cohorts"][0], "simulate") | change
    config = {**TINY, "run": "mistake", "cohorts": [cohort]}
    write_config(tiny / "mistake.yaml", config)
    result = snakemake("--configfile", "mistake.yaml", cwd=tiny)
    assert result.returncode != 0
    shown = result.stdout + result.stderr
    assert "Error: " in shown and text in shown
    log = (tiny / "results/mistake/logs/preprocess/a.log").read_text()
    assert "Traceback" not in log
    assert not (tiny / "results/mistake/a/cohort.h5ad").exists()
