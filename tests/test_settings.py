import json

import pytest
import yaml

from scsw.errors import ScswError
from scsw.settings import parse_settings, reductions, schema, section_settings, validate_config

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
    ],
)
def test_a_wrong_config_is_one_message_that_names_the_place(change, text):
    with pytest.raises(ScswError) as error:
        validate_config(config(**change))
    assert text in str(error.value)


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
