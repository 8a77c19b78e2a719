"""Gene profiles of weights, against a loop over every token."""

import pandas as pd
import pytest
import torch

from scsw.cohort.read import read_cohort
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.init import init
from scsw.scgpt.model import encoder_layers, load_model
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.superweight.discovery import DiscoveryCells
from scsw.superweight.profiles import profile_table
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


FAMILY = pd.DataFrame({"block": [0, 2], "row": [3, 7], "column": [4, 1]}).assign(
    candidate_id=["ffn_down.b0.r3.c4", "ffn_down.b2.r7.c1"], weight=0.0
)


def table(given, min_cells=1, seed=0):
    return profile_table(*given, FAMILY, n_random=6, min_cells=min_cells, seed=seed)


@torch.no_grad()
def by_hand(model, cells):
    """Return w·h of each token of each gene, by weight and gene."""
    names = dict(zip(cells.tokenizer.token_ids.tolist(), cells.cells.var_names, strict=True))
    found = {}
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
        for own in FAMILY.itertuples():
            weight = encoder_layers(model)[own.block].linear2.weight[own.row, own.column]
            for place, token in enumerate(batch.genes[0].tolist()):
                if token in names:
                    term = (weight * hidden[own.block][0, place, own.column]).item()
                    found.setdefault((own.candidate_id, names[token]), []).append(term)
    return found


def test_profiles_are_means_over_a_genes_tokens(given):
    profiles, terms = table(given), by_hand(*given)
    own = profiles[profiles["weight_set"] == "candidate"]
    assert {(r.weight_id, r.gene) for r in own.itertuples()} == set(terms)
    for row in own.itertuples():
        own_terms = terms[row.weight_id, row.gene]
        assert row.profile == pytest.approx(sum(own_terms) / len(own_terms), abs=1e-6, rel=1e-4)


def test_rare_genes_are_left_out(given):
    counts = {gene: len(each) for (_, gene), each in by_hand(*given).items()}
    limit = sorted(counts.values())[len(counts) // 2]
    kept = table(given, min_cells=limit)
    assert set(kept["gene"]) == {gene for gene, n in counts.items() if n >= limit}
    assert 0 < kept["gene"].nunique() < len(counts)
    assert (kept.groupby("weight_id").size() == kept["gene"].nunique()).all()


def test_random_weights_are_of_every_block_and_drawn_by_the_seed(given):
    first = table(given)
    random = first[first["weight_set"] == "random"]
    assert random.groupby("block")["weight_id"].nunique().to_dict() == {0: 2, 1: 2, 2: 2}
    pd.testing.assert_frame_equal(first, table(given), check_exact=True)
    other = table(given, seed=1)
    assert set(other["weight_id"]) != set(first["weight_id"])
    mine = other[other["weight_set"] == "candidate"].reset_index(drop=True)
    known = first[first["weight_set"] == "candidate"].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, known, check_exact=True)
