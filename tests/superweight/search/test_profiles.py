"""Gene profiles of hidden units, against a loop over every token."""

import numpy as np
import pandas as pd
import pytest
import torch

from scsw.cohort.read import read_cohort
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.init import init
from scsw.scgpt.model import encoder_layers, load_model
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.superweight.observe import observe
from scsw.superweight.search.discovery import DiscoveryCells, real_tokens, scgpt_blocks
from scsw.superweight.search.profiles import COLUMNS, candidate_units, profile_table
from tests.tiny import model_settings, write_cohort


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profiles")
    cohort = write_cohort(folder)
    init(cohort, folder / "init", model=model_settings(), seed=0)
    cells = read_cohort(cohort, ["discovery"])
    tokenizer = cohort_tokenizer(cells, folder / "init")
    model = load_model(folder / "init").eval()
    return model, DiscoveryCells(cells, tokenizer, 5, torch.device("cpu"))


FAMILY = pd.DataFrame(  # two weights of one column are one unit
    {"block": [0, 2, 2], "row": [3, 7, 8], "column": [4, 1, 1]}
)


def units_of(given, seed=0):
    model, cells = given
    blocks = scgpt_blocks(model)
    seen = observe(
        model,
        cells,
        [block.down for block in blocks],
        [block.norms.after for block in blocks],
        forward=forward_padded,
        token_mask=real_tokens,
        moments=True,
    )
    return candidate_units(FAMILY, seen, n_controls=3, seed=seed)


@pytest.fixture(scope="module")
def units(given):
    return units_of(given)


@torch.no_grad()
def by_hand(model, cells):
    """Return each unit's activation at its tokens: by unit and gene, and by unit of all tokens."""
    names = dict(zip(cells.tokenizer.token_ids.tolist(), cells.cells.var_names, strict=True))
    of_genes, of_all = {}, {}
    for cell in range(len(cells.tokenizer)):
        batch = cells.tokenizer.batch([cell])
        hidden, hooks = {}, []
        for block, layer in enumerate(encoder_layers(model)):
            hooks.append(
                layer.linear2.register_forward_pre_hook(
                    lambda _, x, block=block, hidden=hidden: hidden.__setitem__(block, x[0])
                )
            )
        forward_padded(model, batch)
        for hook in hooks:
            hook.remove()
        for block, values in hidden.items():
            for column in range(values.shape[2]):
                own = values[0, :, column].tolist()
                of_all.setdefault((block, column), []).extend(own)
                for token, value in zip(batch.genes[0].tolist(), own, strict=True):
                    if token in names:
                        of_genes.setdefault((block, column, names[token]), []).append(value)
    return of_genes, of_all


@pytest.fixture(scope="module")
def terms(given):
    return by_hand(*given)


def test_profiles_are_means_over_a_genes_tokens(given, units, terms):
    profiles = profile_table(*given, units, min_cells=1)
    of_genes, _ = terms
    assert len(profiles) == len(units) * len({gene for *_, gene in of_genes})
    for row in profiles.itertuples():
        own = of_genes[row.block, row.column, row.gene]
        assert row.profile == pytest.approx(sum(own) / len(own), abs=1e-6, rel=1e-4)


def test_units_are_told_by_how_often_and_how_strongly_they_fire(units, terms):
    _, of_all = terms
    for unit in units.itertuples():
        own = np.array(of_all[unit.block, unit.column])
        assert unit.firing_rate == pytest.approx((own > 0).mean())
        assert unit.mean_activation == pytest.approx(own.mean(), rel=1e-4, abs=1e-7)
    assert units["firing_rate"].between(0.01, 0.99).any()
    own = units[units["unit_set"] == "candidate"]
    assert own[["block", "column"]].values.tolist() == [[0, 4], [2, 1]]
    controls = units[units["unit_set"] == "control"].groupby(["block", "of"]).size()
    assert controls.to_dict() == {(0, 4): 2, (2, 1): 2}  # a tenth of 24 units


def test_rare_genes_are_left_out(given, units, terms):
    counts = {gene: len(each) for (block, _, gene), each in terms[0].items() if block == 0}
    limit = sorted(counts.values())[len(counts) // 2]
    kept = profile_table(*given, units, min_cells=limit)
    assert set(kept["gene"]) == {gene for gene, n in counts.items() if n >= limit}
    assert 0 < kept["gene"].nunique() < len(counts)
    assert (kept.groupby(["block", "column"]).size() == kept["gene"].nunique()).all()


def test_a_family_without_candidates_has_an_empty_table(given, units):
    none = profile_table(*given, units.iloc[:0], min_cells=1)
    assert none.empty and list(none.columns) == COLUMNS
