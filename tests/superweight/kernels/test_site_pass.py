"""The kernel of the statistics against the torch operations that it stands for.

It runs on a GPU where there is one. Elsewhere a C++ compiler, if there is one, builds it for the
CPU, with a header that stands in for CUDA's.
"""

import ctypes
import shutil
import subprocess
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scsw.superweight.histogram import BINS
from scsw.superweight.kernels import site_pass, site_update
from scsw.superweight.kernels.site_pass import CHUNK, has_site_pass
from scsw.superweight.site_statistics import SiteStatistics, Tokens, finish

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(
    not (ON_GPU or shutil.which("g++")), reason="needs a GPU or a C++ compiler"
)
ON_CPU_ONLY = pytest.mark.skipif(ON_GPU, reason="a CPU stands in for a GPU")
SHAPES = [(5, 2 * CHUNK + 9, 40), (33, 40, 64)]
# A CPU's compiler is slow, and it does not know CUDA's instruction for fp16.
CASES = [
    (SHAPES[0], torch.float32),
    pytest.param(SHAPES[1], torch.bfloat16, marks=[] if ON_GPU else pytest.mark.slow),
]
if ON_GPU:
    CASES += [(SHAPES[1], torch.float32), *[(shape, torch.float16) for shape in SHAPES]]


class KernelOnCpu:
    """Stands in for `Kernel`."""

    folder: Path

    def __init__(self, source, name, macros, device, shared):
        key = "_".join([name, *(str(value) for value in macros.values())])
        code, library = self.folder / f"{key}.cpp", self.folder / f"{key}.so"
        defined = "".join(f"#define {key} {value}\n" for key, value in macros.items())
        run = (
            'extern "C" void run(int w, int h, int n, const long long *values) '
            f"{{ call({name}, w, h, n, values); }}"
        )
        header = (HERE / "cuda_on_cpu.h").read_text()
        code.write_text(f"{header}{defined}{source}\n{run}\n")
        build = "g++ -std=c++20 -O0 -w -shared -fPIC -pthread".split()
        if not library.exists():
            subprocess.run([*build, "-o", str(library), str(code)], check=True)
        self._run = ctypes.CDLL(str(library)).run

    def __call__(self, grid, threads, shared, *arguments):
        assert shared <= 4 << 16
        values = [a.data_ptr() if isinstance(a, torch.Tensor) else a for a in arguments]
        self._run(*grid, threads, (ctypes.c_longlong * len(values))(*values))


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    return tmp_path_factory.mktemp("built")


@pytest.fixture
def with_kernel(monkeypatch, built):
    """Return a function that turns the kernel on and off."""
    if not ON_GPU:
        KernelOnCpu.folder = built
        monkeypatch.setattr(site_pass, "Kernel", KernelOnCpu)
        monkeypatch.setattr(site_update, "Kernel", KernelOnCpu)
        for one in (site_pass, site_update):
            monkeypatch.setattr(one, "_THREADS", 64)  # threads are slow to start on a CPU
        properties = SimpleNamespace(multi_processor_count=2)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    # Compiling what the kernel is compared with would take minutes on a GPU.
    monkeypatch.setattr("scsw.superweight.run_compiled._can_compile", lambda: False)
    return lambda on: monkeypatch.setattr(
        "scsw.superweight.site_statistics.has_site_pass", lambda device, width: on
    )


def data(dtype, cells, tokens, channels, seed=0, powers=(-8, 8)):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(cells, tokens, channels, generator=generator)
    x *= torch.logspace(*powers, channels)
    x[:, :, ::3] = x[:, :, ::3].relu()
    x[..., 1] = torch.randint(-2, 3, (cells, tokens), generator=generator)  # ties
    x[..., 2] = 0.0
    lengths = torch.randint(1, tokens + 1, (cells,), generator=generator)
    lengths[0] = tokens
    real = torch.arange(tokens) < lengths[:, None]
    real[1] &= torch.rand(tokens, generator=generator) > 0.5  # padding need not be at the end
    real[1, 0] = True
    x[~real] = 1e30
    special = torch.zeros_like(real)
    special[:, 0] = True
    groups = {"donor": torch.arange(cells) % 3, "region": torch.arange(cells) % 2}
    tokens = Tokens(real, groups, special).to(DEVICE)
    if dtype == torch.float16:
        x = x.clamp(-6e4, 6e4)
    return x.to(dtype).to(DEVICE), tokens


def collect(batches, channels, **options):
    site = SiteStatistics(channels, device=DEVICE, **options)
    site._counts = site._counts.int()  # as on a GPU
    found = [site.update(x, tokens) for x, tokens in batches]
    finish([site], int(sum(tokens.real.sum() for _, tokens in batches)))
    return site, found


def assert_same(site, expected):
    for name in ("histogram", "max", "max_cell", "max_token", "top", "zeros", "n_cells"):
        assert np.array_equal(getattr(site, name), getattr(expected, name)), name
    # Sums of signed numbers are small beside those of their sizes.
    _, square, _, fourth, size = expected.powers
    scale = np.stack([size, square, np.sqrt(square * fourth), fourth, size])
    assert (np.abs(site.powers - expected.powers) <= 1e-6 * scale).all()
    assert site.groups.keys() == expected.groups.keys()
    for name, group in site.groups.items():
        assert np.array_equal(group["max"], expected.groups[name]["max"]), name
        assert np.array_equal(group["tokens"], expected.groups[name]["tokens"]), name
        assert np.allclose(group["sum"], expected.groups[name]["sum"], rtol=1e-6, atol=0), name


@pytest.mark.parametrize(("shape", "dtype"), CASES)
def test_the_kernel_gives_what_torch_gives(with_kernel, shape, dtype):
    batches = [data(dtype, *shape, seed) for seed in (0, 1)]
    options = {"groupings": {"donor": 3, "region": 2}, "special": True}
    both = []
    for on in (True, False):
        with_kernel(on)
        both.append(collect(batches, shape[-1], **options))
    (site, found), (expected, wanted) = both
    assert_same(site, expected)
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours.channels, theirs.channels)
        own = theirs.channels
        assert torch.equal(ours.cell[own], theirs.cell[own])
        assert torch.equal(ours.token[own], theirs.token[own])


def test_maxima_and_median_alone(with_kernel):
    batches = [data(torch.float32, 5, 70, 40, powers=(-14, 14))]  # beyond all bins
    with_kernel(True)
    site, _ = collect(batches, 40, moments=False)
    with_kernel(False)
    expected, _ = collect(batches, 40, moments=False)
    for name in ("histogram", "max", "max_cell", "max_token", "top"):
        assert np.array_equal(getattr(site, name), getattr(expected, name)), name
    assert site.histogram.shape == (1, BINS + 2)
    assert site.histogram.sum() == 40 * int(batches[0][1].real.sum())
    assert site.site_median() == expected.site_median() > 0


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_no_number_is_not_lost(with_kernel, bad):
    x, tokens = data(torch.float32, 5, 70, 40)
    x[0, 3, 7], x[0, 2, 8] = bad, bad
    with_kernel(True)
    site, _ = collect([(x, tokens)], 40, special=True)
    assert not np.isfinite(site.max[7]) and not np.isfinite(site.max[8])
    assert np.isfinite(np.delete(site.max, [7, 8])).all()


def test_no_block_of_threads_counts_more_tokens_than_it_can(monkeypatch):
    properties = SimpleNamespace(multi_processor_count=132)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    warps = site_pass._THREADS // 32
    for n_chunks in (1, 608, 16_128, 16_129, 10**6):
        wide, high = site_pass._grid(torch.device("cuda"), 512, n_chunks)
        assert wide == 16 and high >= 16
        assert -(-n_chunks // (high * warps)) * warps * CHUNK < 2**16


def test_counters_do_not_overflow():
    site = SiteStatistics(2, device=DEVICE, moments=False)
    site._counts = site._counts.int()
    site._make_room(2**31 - 100)
    site._counts[5] = 2**31 - 100
    site._make_room(101)
    site._counts[5] += 1
    finish([site], 2**31 - 99)
    assert site.histogram[0, 5] == 2 * (2**31 - 99)


@ON_CPU_ONLY
@pytest.mark.filterwarnings("ignore:the search's statistics")
def test_what_the_kernel_lacks_is_said_once(monkeypatch):
    gpu = torch.device("cuda")
    offered = SimpleNamespace(shared_memory_per_block_optin=2**16)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: offered)
    site_pass._can_run.cache_clear()
    monkeypatch.setattr(site_pass, "missing", lambda: "a compiler")
    with pytest.warns(UserWarning, match="for lack of a compiler"):
        assert not has_site_pass(gpu, BINS + 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not has_site_pass(gpu, BINS + 2)
    site_pass._can_run.cache_clear()
    monkeypatch.setattr(site_pass, "missing", lambda: None)
    with pytest.warns(UserWarning, match="shared memory"):
        assert not has_site_pass(gpu, BINS + 2)
    site_pass._can_run.cache_clear()
    offered.shared_memory_per_block_optin = 99 * 1024
    assert has_site_pass(gpu, BINS + 2)
    assert not has_site_pass(torch.device("cpu"), BINS + 2)
    site_pass._can_run.cache_clear()
