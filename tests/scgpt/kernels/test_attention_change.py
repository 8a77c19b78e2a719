"""The GPU kernel of changes of attention against the same formula in float64.

It needs a GPU, or Triton's interpreter (``TRITON_INTERPRET=1`` before Python starts) on CPU.
"""

import pytest
import torch

from scsw.superweight.pruning.difference import attention_difference
from tests.scgpt.kernels.test_kernels import DEVICE, INTERPRETED, needs_triton

# The interpreter computes with numpy, which has no bf16.
DTYPE, TOLERANCE = (torch.float16, 5e-3) if INTERPRETED else (torch.bfloat16, 3e-2)


@needs_triton
@pytest.mark.parametrize("size", [16, 64])
@pytest.mark.parametrize("amount", [0.5, 0.01, 1e-4])  # of the last, scores change little
@pytest.mark.parametrize("only_first", [False, True])
def test_the_change_of_attention(size, amount, only_first):
    from scsw.scgpt.kernels.attention import attend
    from scsw.scgpt.kernels.attention_change import attention_change

    torch.manual_seed(0)
    lengths, heads, edits = [1, 70, 64, 130], 2, 4  # less than, as many as and more than a block
    tokens = sum(lengths)
    offsets = torch.tensor([0, 1, 71, 135, 265], dtype=torch.int32, device=DEVICE)
    qkv = torch.randn(tokens, 3, heads, size)
    for cell in qkv[:, 1].split(lengths):
        cell -= cell.mean(0)
    qkv = qkv.to(DEVICE, DTYPE)
    change = amount * torch.randn(edits, tokens, 3, heads, size)
    change[:, :, 1] += 30 * amount  # what all keys have in common changes nothing
    change = change.to(DEVICE, DTYPE)
    nothing = offsets[:0]
    out, lse = attend(qkv, offsets, max(lengths), 0.0, nothing, nothing)
    found = attention_change(qkv, out, lse, change, offsets, 1 if only_first else max(lengths))
    intact = qkv.double()
    cells = [
        torch.softmax(q @ k.mT / size**0.5, -1) @ v
        for q, k, v in (cell.permute(1, 2, 0, 3) for cell in intact.split(lengths))
    ]
    exact = torch.cat([cell.transpose(0, 1) for cell in cells])
    expected = attention_difference(intact, exact, change.double(), lengths)
    if only_first:
        found, expected = found[:, offsets[:-1].long()], expected[:, offsets[:-1].long()]
    error = (found.double() - expected).abs().amax((1, 2, 3))
    assert (error <= TOLERANCE * expected.abs().amax((1, 2, 3))).all()
