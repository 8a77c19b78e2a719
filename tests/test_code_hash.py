import shutil
from pathlib import Path

import pytest

from scsw import code_hash


def closure(module):
    return code_hash._closure(module)


def test_a_step_depends_on_what_it_imports_and_on_nothing_else():
    search = closure("scsw.superweight.search.search")
    tokens = "scsw.scgpt.tokens.tokenizer"
    assert {"scsw.superweight.find", tokens, "scsw.cohort.read", "scsw"} <= search
    assert not any(name.startswith(("scsw.biology", "scsw.report", "scsw.cli")) for name in search)
    assert "scsw.superweight.verdict.verdicts" not in search
    assert "scsw.superweight.search.search" not in closure("scsw.scgpt.finetune")
    assert "scsw.scgpt.finetune" not in closure("scsw.superweight.controls.implant")


@pytest.mark.parametrize(
    "step",
    [
        *("search.search", "search.search_shards", "pruning.prune", "verdict.verdicts"),
        "quantization.quantize",
    ],
)
def test_no_step_but_controls_can_know_where_a_scalar_is_sealed(step):
    modules = closure(f"scsw.superweight.{step}")
    assert not any(name.startswith("scsw.superweight.controls") for name in modules)
    text = "".join(code_hash._path(name).read_text() for name in modules)
    assert "sealed" not in text
    assert "sealed.json" in code_hash._path("scsw.superweight.controls.judge_controls").read_text()


def test_imports_inside_functions_count():
    assert "scsw.scgpt.model" in code_hash.imported("scsw.scgpt.init")


@pytest.mark.parametrize(
    ("edited", "stale"),
    [
        ("superweight/first_order.py", {"scsw.superweight.search.search"}),
        ("superweight/kernels/site_pass.cu", {"scsw.superweight.search.search"}),
        ("scgpt/forward.py", {"scsw.superweight.search.search", "scsw.scgpt.finetune"}),
        ("cli.py", set()),
    ],
)
def test_an_edit_changes_the_hash_of_the_steps_that_use_it(tmp_path, monkeypatch, edited, stale):
    steps = ["scsw.superweight.search.search", "scsw.scgpt.finetune", "scsw.cohort.preprocess"]
    before = {step: code_hash.code_hash(step) for step in steps}
    copy = shutil.copytree(Path(code_hash.__file__).parent, tmp_path / "scsw")
    with (copy / edited).open("a") as file:
        file.write("\n# edited\n")
    monkeypatch.setattr(code_hash, "_PACKAGE", copy)
    for function in (code_hash.code_hash, code_hash.imported):
        function.cache_clear()
    try:
        after = {step: code_hash.code_hash(step) for step in steps}
    finally:
        for function in (code_hash.code_hash, code_hash.imported):
            function.cache_clear()
    assert {step for step in steps if before[step] != after[step]} == stale
