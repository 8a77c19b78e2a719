"""Rise in cell-type NLL of each donor when a candidate is set to zero, on given cells."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import nn

from scsw.biology.stages.donor_facts import places
from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.pruning.ablation import Readout, ablated
from scsw.superweight.pruning.candidate_edits import zeroed_alone
from scsw.superweight.pruning.edits import groups_of_edits
from scsw.superweight.pruning.intact import intact_parts
from scsw.superweight.pruning.metrics import nll_rise

_GROUP = ["donor_id", "cell_type", "region"]
COLUMNS = ["candidate_id", *_GROUP, "n_cells", "sum_d_nll"]


@torch.no_grad()
def zeroing_effects(
    model: nn.Module,
    tokenizer: Tokenizer,
    cells: AnnData,
    candidates: pd.DataFrame,
    compute: SimpleNamespace,
    device: torch.device,
) -> pd.DataFrame:
    """Measure what step `prune` measures of its candidates, on other cells.

    Parameters
    ----------
    cells
        The tokenizer's cells, such as thinned ones. Cells of a type that the model never saw
        are left out.
    candidates
        ``candidate_id, block, row, column``.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`: one row per candidate, donor, cell type and region; ``sum_d_nll`` in nats.
    """
    edits = zeroed_alone(candidates)
    order = {edit.name: index for index, edit in enumerate(edits)}
    layers, readout, groups = encoder_layers(model), Readout(model), groups_of_edits(edits)
    scored = np.flatnonzero(tokenizer.labels >= 0)
    rise = np.zeros((len(tokenizer), len(edits)))
    for part, intact in intact_parts(model, tokenizer, scored, compute, device):
        rows, labels = part.cells.numpy(), part.labels.to(device)
        for group in groups:
            change = ablated(layers, intact, group).cells
            found = nll_rise(*readout.types(intact.cells.double(), change), labels)
            for edit, own in zip(group, found.cpu().numpy(), strict=True):
                rise[rows, order[edit.name]] = own
    keys = places(cells.obs)[_GROUP].iloc[scored]
    groups = pd.DataFrame(rise[scored], index=keys.index).groupby([keys[name] for name in _GROUP])
    sums, sizes = groups.sum(), groups.size().rename("n_cells")
    tables = [
        pd.concat([sizes, sums[index].rename("sum_d_nll")], axis=1).assign(candidate_id=name)
        for name, index in order.items()
    ]
    table = pd.concat(tables).reset_index() if tables else pd.DataFrame(columns=COLUMNS)
    return table[COLUMNS]
