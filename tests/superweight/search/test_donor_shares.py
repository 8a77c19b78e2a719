"""In how many donors a weight makes a spike, against sums made by hand."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from scsw.cohort.read import read_cohort
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.superweight.observe import observe
from scsw.superweight.search.discovery import DiscoveryCells, real_tokens, scgpt_blocks
from scsw.superweight.search.donor_shares import donor_peaks, spiking_shares

PLACES = [(1, "mlp_out", 4, 6), (1, "pre_norm2", 4, 6), (2, "mlp_out", 3, 5)]


@pytest.fixture
def planted(tuned):
    """Return the model with a large weight in block 1, and the discovery cells in odd batches."""
    model = copy.deepcopy(tuned.network)
    with torch.no_grad():
        encoder_layers(model)[1].linear2.weight[4, 6] = 30.0
        encoder_layers(model)[1].linear1.bias[6] = 1.0
    cells = read_cohort(tuned.cohort, ["discovery"])
    return model, DiscoveryCells(
        cells, cohort_tokenizer(cells, tuned.model), 5, torch.device("cpu")
    )


def family():
    table = pd.DataFrame(PLACES, columns=["block", "site", "row", "column"])
    return table.assign(module=[f"transformer_encoder.layers.{b}.linear2" for b in table["block"]])


def by_hand(model, cells, block, site, row, column):
    """Return |x| and the share at the largest token of each donor, all cells in one batch."""
    kept, layer = {}, encoder_layers(model)[block]
    handles = [
        layer.linear2.register_forward_hook(lambda _m, i, o: kept.update(h=i[0], out=o)),
        layer.norm2.register_forward_pre_hook(lambda _m, i: kept.update(sum=i[0])),
    ]
    batch = cells.tokenizer.batch(np.arange(len(cells.tokenizer)))
    with torch.no_grad():
        forward_padded(model, batch)
    for handle in handles:
        handle.remove()
    x = kept["out" if site == "mlp_out" else "sum"][..., row].abs().where(batch.real, 0.0)
    donors = cells.cells.obs["donor_id"].astype(str).to_numpy()
    found = []
    for donor in sorted(set(donors)):
        own = x * torch.from_numpy(donors == donor)[:, None]
        at = np.unravel_index(own.argmax().item(), own.shape)
        terms = layer.linear2.weight[row] * kept["h"][at]
        residual = kept["sum"][at][row] - kept["out"][at][row]
        total = terms.abs().sum() + residual.abs() + layer.linear2.bias[row].abs()
        found.append((own.max().item(), (terms[column] / total).item()))
    return np.array(found)


def test_peaks_and_shares_are_those_of_each_donors_largest_token(planted):
    found = donor_peaks(*planted, family())
    assert found.size.shape == found.share.shape == (3, 2)
    for number, place in enumerate(PLACES):
        expected = by_hand(*planted, *place)
        assert found.size[number] == pytest.approx(expected[:, 0], rel=1e-5)
        assert found.share[number] == pytest.approx(expected[:, 1], rel=1e-4)


def test_a_donor_counts_where_both_ratio_and_share_suffice(planted):
    model, cells = planted
    blocks = scgpt_blocks(model)
    seen = observe(
        model,
        cells,
        [block.down for block in blocks],
        [block.norms.after for block in blocks],
        forward=forward_padded,
        token_mask=real_tokens,
    )

    def shares(**rules):
        given = {"spike_ratio": 1.0, "min_share": 0.0} | rules
        return spiking_shares(model, cells, family(), seen, **given)

    peaks = donor_peaks(model, cells, family())
    ratio = peaks.size[0] / seen.sites["1.mlp_out"].site_median()
    share = np.abs(peaks.share[0])
    assert ratio.min() > 20 and share.min() > 0.5 and ratio[0] != ratio[1] and share[0] != share[1]
    assert shares()[0] == 1
    assert shares(spike_ratio=ratio.mean())[0] == 0.5
    # The channel spikes in both donors, but the weight makes enough of it in one of them alone.
    assert shares(min_share=share.mean())[0] == 0.5
    assert shares(min_share=share.max() + 1e-9)[0] == 0
