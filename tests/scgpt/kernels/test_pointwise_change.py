"""The GPU kernels of changes through a norm and a ReLU against the same formulas in float64.

They need a GPU, or Triton's interpreter (``TRITON_INTERPRET=1`` before Python starts) on CPU.
"""

import pytest
import torch
from torch import nn

from scsw.superweight.pruning.difference import IntactNorm, norm_difference, relu_difference
from tests.scgpt.kernels.test_attention_change import DTYPE
from tests.scgpt.kernels.test_kernels import DEVICE, needs_triton

EDITS, TOKENS, WIDTH = 6, 37, 64  # not whole blocks of edits, nor of tokens


@needs_triton
@pytest.mark.parametrize("amount", [1e-4, 1.0, 0.0, "all"])
def test_the_change_of_a_norm(amount):
    from scsw.scgpt.kernels.pointwise_change import norm_change

    torch.manual_seed(0)
    norm = nn.LayerNorm(WIDTH)
    nn.init.normal_(norm.weight)
    x = torch.randn(TOKENS, WIDTH)
    with torch.no_grad():
        intact = IntactNorm.of(x, norm)
    if amount == "all":  # hardly any variance is left
        change = (-0.99 * (x - x.mean(-1, keepdim=True))).expand(EDITS, -1, -1).contiguous()
    else:
        change = amount * torch.randn(EDITS, TOKENS, WIDTH)
    given = [t.to(DEVICE, DTYPE) for t in (change, intact.unit)]
    inverse, gamma = intact.inverse.to(DEVICE), intact.gamma.detach().to(DEVICE, DTYPE)
    found = norm_change(*given, inverse, gamma)
    wide = IntactNorm(given[1].double(), inverse.double(), None, gamma.double(), None)
    expected = norm_difference(wide, given[0].double())
    assert (found.double() - expected).abs().max() <= 1e-2 * expected.abs().max()
    assert amount != 0.0 or not found.any()


@needs_triton
def test_the_change_of_a_relu():
    from scsw.scgpt.kernels.pointwise_change import relu_change

    torch.manual_seed(0)
    before, change = torch.randn(TOKENS, WIDTH), 0.3 * torch.randn(EDITS, TOKENS, WIDTH)
    hidden, below = before.relu().to(DEVICE, DTYPE), before.clamp(max=0).to(DEVICE, DTYPE)
    change = change.to(DEVICE, DTYPE)
    found = relu_change(change, hidden, below)
    expected = relu_difference(hidden.double(), below.double(), change.double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-2, atol=1e-6)
