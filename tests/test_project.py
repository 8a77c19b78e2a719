"""The project's own files say the same thing everywhere."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import scsw
from scsw.config_reference import reference
from scsw.settings import fill_defaults, schema, validate_config

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def requirements():
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [Requirement(line) for group in groups for line in group]


def pins():
    lines = text("envs/constraints.txt").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in found}


def tracked_files():
    git = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if git.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in git.stdout.split("\0") if name and (ROOT / name).is_file()]


def make_targets():
    return set(re.findall(r"^([\w./-]+):(?!=)", text("Makefile"), flags=re.MULTILINE))


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load(text("CITATION.cff"))
    assert scsw.__version__ == PROJECT["version"] == citation["version"]
    assert f"## [{scsw.__version__}]" in text("CHANGELOG.md")


def test_citation_has_what_the_format_requires():
    citation = yaml.safe_load(text("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert citation["authors"] == PROJECT["authors"] == [{"name": "The scsw developers"}]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_direct_dependency_is_pinned_within_its_bounds(requirement):
    pin = pins()[canonicalize_name(requirement.name)]
    (exact,) = pin.specifier
    assert exact.operator == "==" and "*" not in exact.version
    assert requirement.specifier.contains(exact.version, prereleases=True)


def test_no_pin_has_a_build_tag_or_an_address():
    for name, pin in pins().items():
        assert pin.url is None, name
        assert "+" not in str(pin.specifier), name


def test_every_direct_dependency_has_its_reason():
    page = text("docs/dependencies.md")
    for requirement in requirements():
        assert re.search(rf"`{requirement.name}[\[`]", page), requirement.name


def imported_by(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def test_every_third_party_import_is_declared():
    import_names = {
        "huggingface-hub": "huggingface_hub",
        "scikit-learn": "sklearn",
        "pyyaml": "yaml",
    }
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    declared = {
        canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"] + extras
    }
    known = {import_names.get(name, name) for name in declared} | set(sys.stdlib_module_names)
    # The stand-in looks for the real torchtext, which scgpt requires; Triton and the bindings of
    # CUDA, which the GPU kernels need, come with torch's GPU builds.
    known |= {"scsw", "torchtext", "triton", "cuda"}
    for path in (ROOT / "scsw").rglob("*.py"):
        unknown = set(imported_by(path)) - known
        assert not unknown, f"{path.relative_to(ROOT)} imports {sorted(unknown)}"


def test_config_page_is_in_step_with_the_schema():
    assert text("config/README.md") == reference(schema()), "run `make config-reference`"


def test_config_page_follows_the_schema():
    rules = {
        "type": "object",
        "required": ["a"],
        "properties": {
            "a": {"enum": ["x", "y"], "description": "One | other."},
            "b": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "c": {"type": "integer", "minimum": 2, "default": 3, "x-reduction": True}
                    },
                },
            },
        },
    }
    page = reference(rules)
    assert "| `a` | `x` or `y` | required | One \\| other. |" in page
    assert "## `b[]`" in page
    assert "| `c` † | integer ≥ 2 | `3` |  |" in page


def schema_rules(rules, place=""):
    """Yield every rule of the schema with its place."""
    yield place, rules
    for key, rule in rules.get("properties", {}).items():
        yield from schema_rules(rule, f"{place}.{key}")
    for key in ("items", "additionalProperties"):
        if isinstance(rules.get(key), dict):
            yield from schema_rules(rules[key], f"{place}.{key}")


def test_schema_holds_only_keywords_of_json_schema():
    """An unquoted comma inside `{...}` ends a description and makes a key of what follows."""
    words = "$schema title description type enum default required properties items not pattern"
    words += " additionalProperties minItems uniqueItems minimum maximum exclusiveMinimum"
    words += " exclusiveMaximum"
    words += " x-reduction x-neutral"
    for place, rules in schema_rules(schema()):
        assert not set(rules) - set(words.split()), place


def test_every_schema_key_is_described_and_its_default_is_valid():
    rules = schema()
    Draft202012Validator.check_schema(rules)
    for place, rule in schema_rules(rules):
        if place.rpartition(".")[2] in ("", "items", "additionalProperties"):
            continue
        assert "description" in rule or "properties" in rule, place
        if "default" in rule:
            Draft202012Validator(rule).validate(fill_defaults(rule["default"], rule))


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.name)
def test_every_config_is_valid(path):
    validate_config(yaml.safe_load(path.read_text(encoding="utf-8")))


def test_commands_of_the_pages_exist():
    targets = make_targets()
    for page in ["README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]:
        for line in re.findall(r"(?:^|`)make ([^\n`]+)", text(page), flags=re.MULTILINE):
            for word in line.split():
                assert "=" in word or word in targets, f"{page}: make {word}"


def test_files_that_the_pages_name_exist():
    for page in ["README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]:
        folder = (ROOT / page).parent
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text(page)):
            assert (folder / link).exists(), f"{page} links to {link}"
        named = re.findall(r"\b((?:config|docs|profiles|envs)/[\w./-]+\.\w+)", text(page))
        for name in named:
            assert (ROOT / name).exists(), f"{page} names {name}"


def test_phony_targets_have_a_line_in_help():
    phony = re.search(r"^\.PHONY: (.*)$", text("Makefile"), flags=re.MULTILINE)[1].split()
    shown = subprocess.run(
        ["make", "-C", ROOT, "--no-print-directory", "help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert set(phony) - {"demo-run"} == {line.split()[0] for line in shown.splitlines()}


def test_the_demo_takes_the_lock_of_its_own_killed_run_alone(tmp_path):
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    for name, path in {"0": "results/demo/a.h5ad", "1": "results/sea_ad/a.h5ad"}.items():
        (locks / f"{name}.output.lock").write_text(f"resources/genes\n{path}\n")
    for _ in range(2):  # the second finds none
        command = ["make", "-f", str(ROOT / "Makefile"), "demo-run", "SNAKEMAKE=true"]
        subprocess.run(command, cwd=tmp_path, check=True)
        assert [path.name for path in locks.iterdir()] == ["1.output.lock"]


def test_continuous_integration_runs_the_make_targets():
    steps = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"]
    commands = [step["run"] for job in steps.values() for step in job["steps"] if "run" in step]
    called = {command.split()[1] for command in commands}
    script = set(re.findall(r"^step ([\w-]+)$", text(".ci/run"), flags=re.MULTILINE))
    assert called == script == {"test", "lint", "test-slow", "demo"}


def test_supported_pythons_agree():
    listed = {c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3." in c}
    workflow = yaml.safe_load(text(".github/workflows/ci.yml"))
    assert listed == set(workflow["jobs"]["test"]["strategy"]["matrix"]["python"])
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    conda = yaml.safe_load(text("envs/scsw.yaml"))["dependencies"]
    assert conda[0].removeprefix("python=") in listed


def test_profiles_hold_only_options_of_snakemake():
    from snakemake.cli import get_argument_parser

    options = {
        word.removeprefix("--")
        for action in get_argument_parser()._actions
        for word in action.option_strings
    }
    for name in ("default", "slurm"):
        profile = yaml.safe_load(text(f"profiles/{name}/profile.yaml"))
        assert set(profile) <= options, name
        assert profile["rerun-incomplete"] is True
    default = yaml.safe_load(text("profiles/default/profile.yaml"))
    assert default["resources"] == {"gpu": 1}


def test_slurm_memory_grows_from_what_the_rules_ask():
    """`set-resources` replaces what a rule says, so the two must not drift apart."""
    rules = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    asked = {}
    for block in re.split(r"^rule ", rules, flags=re.MULTILINE)[1:]:
        if memory := re.search(r"mem_mb=(\d+)", block):
            asked[block.partition(":")[0]] = {"mem_mb": f"{memory[1]} * attempt"}
    profile = yaml.safe_load(text("profiles/slurm/profile.yaml"))
    assert asked and profile["set-resources"] == asked


# Written in pieces, so that this file does not hold them itself.
FORBIDDEN = [
    *(re.escape(f"/{folder}/") for folder in ("work", "root", "farm")),
    "python" + "hosted",
    r"pypi\." + "org",
    r"registry\." + "npmjs",
    r"download\." + r"pytorch\.org",
    r"conda\." + r"anaconda\.org",
    r"/home/" + r"\w",
    r"/tmp/" + r"\w",
]


def test_no_file_holds_a_machine_path_or_a_registry_host():
    pattern = re.compile("|".join(FORBIDDEN))
    for path in tracked_files():
        try:
            content = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # binary
        found = pattern.search(content)
        assert not found, f"{path.relative_to(ROOT)} holds {found[0]}"


def test_wheel_carries_schema_resources_and_captions(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "scsw/config.schema.yaml" in names
    for folder, inside in [("resources", "resources"), ("workflow/report", "report/captions")]:
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        assert files
        for path in files:
            assert f"scsw/{inside}/{path.relative_to(ROOT / folder)}" in names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)
