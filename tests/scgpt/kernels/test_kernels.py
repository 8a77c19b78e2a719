"""The GPU kernels against plain float64 arithmetic with the same draws of dropout.

They need a GPU, or Triton's interpreter (``TRITON_INTERPRET=1`` before Python starts) on CPU.
"""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scsw.scgpt.kernels import available
from scsw.scgpt.kernels.available import has_kernels
from scsw.scgpt.kernels.dropout import draw, threshold

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu")
needs_triton = pytest.mark.skipif(
    not (torch.cuda.is_available() or INTERPRETED), reason="needs a GPU or Triton's interpreter"
)
# The interpreter computes with numpy, which has no bf16.
DTYPES = [torch.float16] if INTERPRETED else [torch.float16, torch.bfloat16]
TOLERANCE = {torch.float16: 3e-3, torch.bfloat16: 2e-2}  # of the largest value


def kept(rows, columns, dropout):
    """What `scsw.scgpt.kernels.dropout` says in words."""
    product = (rows.long() & 0xFFFFFFFF)[..., None] * (columns.long() & 0xFFFFFFFF)
    return ((product & 0xFFFFFFFF) < threshold(dropout)).double()


def attention(qkv, lengths, numbers, dropout):
    cells = []
    for first, cell in zip(np.cumsum([0, *lengths]), qkv.split(lengths), strict=False):
        q, k, v = cell.permute(1, 2, 0, 3)
        weights = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1)
        if dropout:
            rows = numbers[0][first : first + len(cell)].t()
            weights = weights * kept(rows, numbers[1][: len(cell)], dropout) / (1 - dropout)
        cells.append((weights @ v).transpose(0, 1))
    return torch.cat(cells)


def assert_near(found, expected, dtype):
    difference = (found.double() - expected).abs().max()
    assert difference <= TOLERANCE[dtype] * expected.abs().max()


@needs_triton
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("size", [16, 64])
def test_attention_and_its_gradient(size, dropout, dtype):
    from scsw.scgpt.kernels.attention import attend

    torch.manual_seed(0)
    lengths, heads = [1, 70, 64, 130], 2  # less than, as many as and more than a block
    tokens = sum(lengths)
    offsets = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32, device=DEVICE)
    qkv = torch.randn(tokens, 3, heads, size).to(DEVICE, dtype).requires_grad_()
    numbers = draw((tokens, heads), max(lengths), dropout, DEVICE)
    found = attend(qkv, offsets, max(lengths), dropout, *numbers)[0]
    exact_input = qkv.detach().double().requires_grad_()
    expected = attention(exact_input, lengths, numbers, dropout)
    assert_near(found, expected, dtype)
    gradient = torch.randn(tokens, heads, size).to(DEVICE, dtype)
    found.backward(gradient)
    expected.backward(gradient.double())
    for part in range(3):
        assert_near(qkv.grad[:, part], exact_input.grad[:, part], dtype)


@needs_triton
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_residual_norm_and_its_gradients(dropout):
    from scsw.scgpt.kernels.residual_norm import residual_norm

    torch.manual_seed(0)
    tokens, width = 37, 64
    x, y, gradient = (torch.randn(tokens, width).to(DEVICE, torch.float16) for _ in range(3))
    weight, bias = torch.randn(2, width, device=DEVICE)
    given = [each.detach().requires_grad_() for each in (x, y, weight, bias)]
    exact = [each.detach().double().requires_grad_() for each in given]
    numbers = draw((tokens,), width, dropout, DEVICE)
    found = residual_norm(*given, 1e-5, dropout, *numbers)[0]
    survived = kept(*numbers, dropout) / (1 - dropout) if dropout else 1.0
    total = exact[0] + survived * exact[1]
    expected = F.layer_norm(total, (width,), exact[2], exact[3], 1e-5)
    assert_near(found, expected, torch.float16)
    found.backward(gradient)
    expected.backward(gradient.double())
    for ours, theirs in zip(given, exact, strict=True):
        assert_near(ours.grad, theirs.grad, torch.float16)


@pytest.mark.parametrize("dropout", [0.1, 0.2, 0.5])
def test_dropout_draws_are_independent(dropout):
    torch.manual_seed(3)
    rows, columns = 1200, 900
    survived = kept(*draw((rows,), columns, dropout, torch.device("cpu")), dropout).numpy()
    assert abs(survived.mean() - (1 - dropout)) < 4 * np.sqrt(dropout * (1 - dropout) / rows)
    z = (survived - (1 - dropout)) / np.sqrt(dropout * (1 - dropout))
    # Pairs of rows, and of columns, are as correlated as independent ones: standard normal.
    for pairs, n in ((z @ z.T, columns), (z.T @ z, rows)):
        correlations = pairs[np.triu_indices(len(pairs), 1)] / np.sqrt(n)
        assert abs(correlations.std() - 1) < 0.02
        assert np.abs(correlations).max() < 7


def test_without_dropout_nothing_is_drawn():
    assert all(x.numel() == 0 for x in draw((5, 2), 7, 0.0, torch.device("cpu")))
    assert threshold(0.0) == 0


@pytest.mark.parametrize(("found", "said"), [(None, "Triton"), (object(), "C compiler")])
@pytest.mark.filterwarnings("ignore:attention runs cell by cell")
def test_what_the_kernels_lack_is_said_once(monkeypatch, found, said):
    available._can_build.cache_clear()
    monkeypatch.setattr(available.importlib.util, "find_spec", lambda name: found)
    monkeypatch.setattr(available.shutil, "which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(available, "_is_recent", lambda device, dtype: True)
    headers = Path(available.sysconfig.get_path("include"), "Python.h").exists()
    wanted = (torch.device("cuda"), torch.float16, 512, 8)
    with pytest.warns(UserWarning, match=said):
        assert not has_kernels(*wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not has_kernels(*wanted)
    available._can_build.cache_clear()
    monkeypatch.setenv("CC", "cc")
    assert has_kernels(*wanted) == (found is not None and headers)
    available._can_build.cache_clear()


def test_kernels_are_for_half_precision_on_a_gpu():
    assert not has_kernels(torch.device("cpu"), torch.float16, 512, 8)
    gpu = torch.device("cuda")
    assert not has_kernels(gpu, torch.float32, 512, 8)
    assert not has_kernels(gpu, torch.float16, 200, 8)
