"""The workflow as a whole: dry runs here, real runs on tiny cohorts marked slow."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from scsw.cohort.simulate import simulate
from scsw.files import read_table
from scsw.scgpt.model import new_model
from tests.cohort.readers import layout_adni

ROOT = Path(__file__).parents[1]
# Of the edits beside the random controls; the shipped configs have many.
FEW = {"n_matched": 3, "n_noise": 3, "scales": [0.5], "n_pairs_among": 3, "n_family_controls": 3}
# Sizes that the shipped configs have at their defaults, which no path through the code hangs on.
SMALL = {
    "seeds": [0, 1],
    "search": {"first_order_top": 50, "gradient_cells": 16},
    "prune": FEW | {"n_controls": 399},  # as few as 20 candidates allow
    "quantize": {"block_sizes": [64], "random_draws": 1},
    "statistics": {"bootstrap": 300},
    "map": {"n_controls": 20, "n_write_out_controls": 20},
    "enrich": {"permutations": 20, "prerank_large_candidates": 0, "max_candidates": 2},
    "replicate": {"permutations": 200},
    "biomarkers": {"permutations": 100},
    "external": {"permutations": 99},
}
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

# The same with blood expression to validate genes in, in the layout of ADNI.
WHOLE = TINY | {"external": {"permutations": 99, "bulk": [{"name": "adni", "path": "adni"}]}}


def snakemake(*arguments, cwd=ROOT):
    environment = {**os.environ, "PYTHONPATH": str(cwd), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def write_config(path: Path, config: dict) -> Path:
    path.write_text(yaml.safe_dump(config))
    return path


def without(config: dict, *keys: str) -> dict:
    return {key: value for key, value in config.items() if key not in keys}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Return a copy of the project, so that runs and edits touch nothing here."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("scsw", "workflow", "config", "profiles", "resources", "envs"):
        ignore = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    shutil.copy(ROOT / "Snakefile", folder)
    layout_adni.write(folder / "adni")
    return folder


@pytest.fixture(scope="module")
def tiny(checkout):
    """Return the checkout after a whole tiny run."""
    write_config(checkout / "tiny.yaml", WHOLE)
    result = snakemake("--configfile", "tiny.yaml", cwd=checkout)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-6000:]
    return checkout


def planned(result) -> set[str]:
    """Return the rules that a dry run would run."""
    assert result.returncode == 0, result.stderr
    lines = (result.stdout + result.stderr).splitlines()
    return {
        line.split()[1].rstrip(":") for line in lines if line.startswith(("rule ", "localrule "))
    }


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


@pytest.mark.parametrize("name", ["sea_ad", "rosmap", "sea_ad_vs_rosmap"])
def test_the_real_configs_stop_at_a_missing_file_and_name_it(name):
    result = snakemake("--dry-run", "--configfile", f"config/{name}.yaml")
    assert result.returncode != 0
    text = result.stdout + result.stderr
    assert "Missing input files" in text and "data/" in text


def test_another_config_names_no_cohort_of_the_demo():
    result = snakemake("--dry-run", "--forceall", "--configfile", "config/htan.yaml")
    assert "preprocess" in planned(result)
    text = result.stdout + result.stderr
    assert "htan" in text and "sea_ad" not in text and "rosmap" not in text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"serch": {}}, "'serch' was unexpected"),
        (
            {"cohorts": [{"name": "x", "source": "adni2", "path": "p"}]},
            "the source 'adni2' is unknown",
        ),
        ({"prune": {"n_controls": 3}}, "no candidate could ever be causal"),
    ],
)
def test_a_wrong_config_stops_before_any_job_without_a_traceback(tmp_path, change, text):
    path = write_config(tmp_path / "wrong.yaml", TINY | change)
    result = snakemake("--dry-run", "--configfile", path)
    assert result.returncode != 0
    shown = result.stdout + result.stderr
    assert text in shown and "Traceback" not in shown


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
    assert steps == {*after.split(), *"external gather replicate biomarkers report all".split()}


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


@pytest.mark.slow
def test_one_donor_is_not_assessable(checkout):
    config = yaml.safe_load((ROOT / "config/htan.yaml").read_text())
    small = {"embsize": 16, "nheads": 2, "d_hid": 24, "nlayers": 2, "max_seq_len": 24}
    config = {**config, "model": small, "finetune": {"epochs": 1, "lr": 0.003}}
    config = {**config, "control_arms": [], "prune": config["prune"] | FEW}
    config["enrich"] = config["enrich"] | SMALL["enrich"]
    config["map"] = config["map"] | SMALL["map"]
    write_config(checkout / "htan.yaml", config)
    result = snakemake("--configfile", "htan.yaml", cwd=checkout)
    assert result.returncode == 0, result.stderr[-4000:]
    numbers = json.loads((checkout / "results/htan/htan/numbers.json").read_text())
    assert "not assessable" in numbers["verdict_sentence"].lower()
    assert "one donor" in numbers["verdict_sentence"].lower()
    assert "donor" in (checkout / "results/htan/htan/report.html").read_text()


def tiny_checkpoint(folder: Path, genes: list[str]) -> Path:
    """Write a scGPT folder as the public ones are: flash naming, generative leftovers."""
    folder.mkdir(parents=True)
    sizes = {"embsize": 32, "nheads": 4, "d_hid": 40, "nlayers": 2, "n_layers_cls": 3}
    args = sizes | {"dropout": 0.2, "n_bins": 51, "max_seq_len": 24, "pad_value": -2}
    args |= {"input_emb_style": "continuous", "fast_transformer": True, "MVC": True}
    vocabulary = {token: i for i, token in enumerate([*genes, "<pad>", "<cls>", "<eoc>"])}
    torch.manual_seed(0)
    state = new_model(args, vocabulary, 1).state_dict()
    state = {k.replace("self_attn.in_proj_", "self_attn.Wqkv."): v for k, v in state.items()}
    torch.save(state | {"flag_encoder.weight": torch.zeros(2, 32)}, folder / "best_model.pt")
    (folder / "args.json").write_text(json.dumps(args))
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    return folder


@pytest.fixture(scope="module")
def real_files(checkout):
    """Return simulated files in the layouts of the real ones, and a checkpoint of their genes."""
    shape = {"donors": 40, "nuclei_per_donor": 16, "genes": 6000}
    paths = {"sea_ad": checkout / "real" / "a.h5ad", "rosmap": checkout / "real" / "b"}
    for source, path in paths.items():
        simulate(path, source=source, cell_types=4, seed=3, **shape)
    genes = (paths["rosmap"] / "filtered_gene_row_names.txt").read_text().split()
    return paths, tiny_checkpoint(checkout / "real" / "checkpoint", genes)


def on_real_files(checkout, name: str, real_files) -> tuple[dict, list]:
    """Return a shipped config, and the arguments that run it on these files, with `SMALL` sizes."""
    paths, checkpoint = real_files
    shipped = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
    cohorts = [c | {"path": str(paths[c["source"]])} for c in shipped["cohorts"]]
    override = SMALL | {"cohorts": cohorts, "model": {"checkpoint": str(checkpoint)}}
    path = write_config(checkout / f"{name}-override.yaml", override)
    return shipped, ["--configfile", f"config/{name}.yaml", path]


@pytest.mark.slow
def test_the_real_configs_run_to_their_reports_on_simulated_files(checkout, real_files):
    shipped, arguments = on_real_files(checkout, "sea_ad_vs_rosmap", real_files)
    result = snakemake(*arguments, cwd=checkout)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-6000:]
    for cohort in shipped["cohorts"]:
        folder = checkout / "results" / shipped["run"] / cohort["name"]
        assert (folder / "report.html").exists()
        keys = read_table(folder / "real" / "0" / "init" / "checkpoint_keys.tsv")
        actions = keys.set_index("key")["action"]
        assert actions["transformer_encoder.layers.0.self_attn.in_proj_weight"] == "loaded"
        assert actions["flag_encoder.weight"] == "dropped"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sea_ad", "rosmap"])
def test_a_config_of_one_cohort_is_that_of_both_without_the_other(checkout, real_files, name):
    """So that the run of both shows that each of them runs."""
    own, arguments = on_real_files(checkout, name, real_files)
    both, _ = on_real_files(checkout, "sea_ad_vs_rosmap", real_files)
    assert own["cohorts"] == [c for c in both["cohorts"] if c["source"] == name]
    capped = {"max_cells_per_donor": 5000} if name == "sea_ad" else {}
    assert own["preprocess"] == without(both["preprocess"], "max_cells_per_donor") | capped
    differ = ("run", "cohorts", "preprocess")
    assert without(own, *differ) == without(both, *differ)
    result = snakemake("--dry-run", *arguments, cwd=checkout)
    steps = "preprocess init finetune search prune verdict quantize controls report all"
    assert set(steps.split()) <= planned(result)
