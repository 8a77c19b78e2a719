"""The configs that come with the project: planned here, and run on small files in slow tests."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from scsw.cohort.simulation.simulate import simulate
from scsw.files import read_table
from scsw.scgpt.model import new_model
from tests.workflow_runs import FEW, ROOT, checkout, planned, snakemake, without, write_config

__all__ = ["checkout"]  # a fixture
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


@pytest.mark.parametrize("name", ["sea_ad", "rosmap", "sea_ad_vs_rosmap"])
def test_the_real_configs_stop_at_a_missing_file_and_name_it(name):
    result = snakemake("--dry-run", "--configfile", f"config/{name}.yaml")
    assert result.returncode != 0
    text = result.stdout + result.stderr
    assert "Missing input files" in text and "data/" in text


def test_a_checkpoint_without_its_weights_stops_before_any_job(tmp_path):
    for name in ("args.json", "vocab.json"):
        (tmp_path / name).write_text("{}")
    cohort = {"name": "htan", "path": "resources/htan_exemplar.h5ad"}
    config = {"run": "x", "cohorts": [cohort], "model": {"checkpoint": str(tmp_path)}}
    config["preprocess"] = {"vocabulary": "checkpoint"}
    result = snakemake("--dry-run", "--configfile", write_config(tmp_path / "c.yaml", config))
    shown = result.stdout + result.stderr
    assert result.returncode != 0 and "Missing input files" in shown
    assert f"{tmp_path}/best_model.pt" in shown and f"{tmp_path}/vocab.json" not in shown


def test_another_config_names_no_cohort_of_the_demo():
    result = snakemake("--dry-run", "--forceall", "--configfile", "config/htan.yaml")
    assert "preprocess" in planned(result)
    text = result.stdout + result.stderr
    text = text.replace("sea_ad_merfish", "")  # the layout of spatial data, by default
    assert "htan" in text and "sea_ad" not in text and "rosmap" not in text


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
