import json

import pytest
import yaml

from scsw.errors import ScswError
from scsw.scgpt.finetune import _NO_MATTER
from scsw.settings import (
    StepSettings,
    neutral_keys,
    parse_settings,
    reductions,
    schema,
    section_settings,
    validate_config,
)

COHORT = {"name": "x", "source": "sea_ad", "path": "x.h5ad"}


def config(**changes):
    return {"run": "r", "cohorts": [COHORT], **changes}


def test_defaults_are_filled_at_every_level():
    filled = validate_config(config(search={"max_candidates": 3}))
    assert filled["search"]["max_candidates"] == 3
    assert filled["search"]["spike_ratio"] == 20
    assert filled["model"]["embsize"] == 512
    assert filled["cohorts"][0]["columns"] == {}
    assert "simulate" not in filled["cohorts"][0]
    assert section_settings("compute").cpu_threads == 1


def test_defaults_obey_the_schema():
    assert validate_config(validate_config(config())) == validate_config(config())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"serch": {}}, "'serch' was unexpected"),
        ({"search": {"max_candidate": 3}}, "search: Additional properties are not allowed"),
        ({"cohorts": [{**COHORT, "colour": 1}]}, "cohorts.0: "),
        ({"cohorts": [{**COHORT, "source": "adni2"}]}, "the source 'adni2' is unknown"),
        ({"cohorts": []}, "cohorts: "),
        ({"run": "a/b"}, "run: 'a/b' does not match"),
        ({"prune": {"n_controls": 10}}, "no candidate could ever be causal"),
        ({"preprocess": {"train": 0.9}}, "add up to 1.5"),
        ({"model": {"embsize": 65}}, "not a multiple"),
        ({"preprocess": {"vocabulary": "checkpoint"}}, "model.checkpoint is not given"),
        ({"model": {"checkpoint": "folder"}}, "vocabulary is `census`"),
        ({"control_arms": ["pretrained"]}, "needs model.checkpoint"),
        ({"cohorts": [COHORT, COHORT]}, "share a name"),
        ({"cohorts": [{**COHORT, "simulate": {}}]}, "`simulated` is not true"),
        ({"cohorts": [{**COHORT, "name": "replication"}]}, "cohorts.0.name"),
        ({"serch": {}}, "did you mean search?"),
        ({"search": {"max_candidate": 3}}, "did you mean max_candidates?"),
        ({"spike_ratio": 3}, "did you mean search.spike_ratio?"),
        ({"search": None}, "nothing stands below this key"),
        ({"finetune": {"lr": "1e-4"}}, "write 1.0e-4 or 0.0001"),
        ({"finetune": {"lr": float("nan")}}, "finetune.lr: not a finite number"),
        ({"prune": {"scales": [0.5, float("inf")]}}, "prune.scales.1: not a finite number"),
        ({"statistics": {"seed": -1}}, "statistics.seed: -1 is less"),
        ({"seeds": [2**32]}, "seeds.0: 4294967296 is greater"),
        ({"run": ".."}, "run: '..' does not match"),
        ({"cohorts": [{**COHORT, "name": "-x"}]}, "cohorts.0.name: '-x' does not match"),
        ({"cohorts": [COHORT, {**COHORT, "name": "X"}]}, "share a name"),
        (
            {"simulated": True, "cohorts": [{**COHORT, "source": "auto", "simulate": {}}]},
            "its source is 'auto'. Expected: `source: sea_ad` or `source: rosmap`",
        ),
        ({"enrich": {"min_size": 50, "max_size": 20}}, "no gene set could be tested"),
        # What fine-tuning would refuse too, but only after preprocessing.
        ({"finetune": {"freeze_blocks": 13}}, "the model has 12 encoder blocks"),
        ({"finetune": {"accumulate": 64}}, "finetune.batch_size is 32"),
        ({"finetune": {"mask_ratio": 0}}, "finetune.mask_ratio is 0"),
    ],
)
def test_a_wrong_config_is_one_message_that_names_the_place(change, text):
    with pytest.raises(ScswError) as error:
        validate_config(config(**change))
    assert text in str(error.value)


def test_an_extra_that_is_missing_shows_before_the_first_job(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ScswError, match=r"pip install 'scsw\[lora\]'"):
        validate_config(config(finetune={"lora_rank": 4}))


def test_controls_suffice_exactly_at_the_bound():
    for n, m in ((199, 10), (399, 20)):
        validate_config(config(prune={"n_controls": n}, search={"max_candidates": m}))
        with pytest.raises(ScswError, match=f"at least {n} controls"):
            validate_config(config(prune={"n_controls": n - 1}, search={"max_candidates": m}))


def test_reductions_are_what_stands_below_the_default():
    filled = validate_config(
        config(seeds=[0], search={"max_candidates": 5}, prune={"n_controls": 2000})
    )
    found = {row["key"]: row["value"] for row in reductions(filled)}
    assert found == {"seeds": [0], "search.max_candidates": 5}
    own = validate_config(
        config(cohorts=[{**COHORT, "control_arms": []}], prune={"control_scope": "all_blocks"})
    )
    found = {row["key"]: row["value"] for row in reductions(own)}
    assert found == {"cohorts.x.control_arms": [], "prune.control_scope": "all_blocks"}
    assert reductions(validate_config(config())) == []


def test_every_key_is_described():
    def visit(rules, where=""):
        for key, rule in rules.get("properties", {}).items():
            assert rule.get("description") or "properties" in rule, where + key
            visit(rule, f"{where}{key}.")
            visit(rule.get("items", {}), f"{where}{key}.")

    visit(schema())


def test_settings_come_as_json_or_as_a_file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"search": {"max_candidates": 4}}))
    for text in (json.dumps({"search": {"max_candidates": 4}}), str(path)):
        assert parse_settings(text)["search"]["max_candidates"] == 4
    assert parse_settings(None) == {}
    for text in ("{broken", "no such file"):
        with pytest.raises(ScswError, match="the config"):
            parse_settings(text)
    path.write_bytes(b"\xef\xbb\xbfsearch:\r\n  max_candidates: 4\r\n")  # of a Windows editor
    assert parse_settings(str(path))["search"]["max_candidates"] == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"prune: {shards: 2}\nrun: x\nprune: {n_noise: 3}\n", "the key `prune` stands twice"),
        (b"prune:\n  n_noise: 3\n  n_noise: 4\n", "the key `n_noise` stands twice"),
        (b"run: x # gr\xfcn\n", "can't decode.*saved as UTF-8"),
        (b"prune:\n\tn_noise: 3\n", "cannot be read"),
        (b"- a\n", "a list"),
    ],
)
def test_a_file_that_says_something_twice_or_is_no_utf_8_is_refused(tmp_path, content, message):
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(ScswError, match=f"(?s){message}"):
        parse_settings(str(tmp_path / "c.yaml"))


def test_the_same_key_of_two_sections_and_merged_ones_are_no_double(tmp_path):
    (tmp_path / "c.yaml").write_text("a: &x {s: 1, t: 2}\nb: {<<: *x, s: 3}\n")
    assert parse_settings(str(tmp_path / "c.yaml"))["b"] == {"s": 3, "t": 2}


def test_keys_that_no_result_depends_on_reach_a_step_but_do_not_run_it_again():
    """Snakemake compares the `repr` of a rule's parameters."""
    texts = [
        StepSettings(json.dumps({"finetune": {"lr": lr, "save_minutes": minutes}, "model": {}}))
        for lr, minutes in [(0.1, 1), (0.1, 2), (0.2, 1)]
    ]
    assert repr(texts[0]) == repr(texts[1]) != repr(texts[2])
    assert json.loads(f"{texts[1]}")["finetune"]["save_minutes"] == 2


def test_a_saved_state_serves_whatever_the_neutral_keys_are():
    assert {*neutral_keys("finetune"), *neutral_keys("compute")} <= set(_NO_MATTER)
