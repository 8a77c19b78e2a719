import numpy as np
import pytest
import torch
from scipy.stats import kurtosis

from scsw.superweight.histogram import BINS, bin_of, histogram_quantile
from scsw.superweight.site_statistics import SiteStatistics, Tokens


def data(seed=0, cells=40, tokens=9, channels=5):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(cells, tokens, channels, generator=generator) * torch.tensor([1, 2, 3, 4, 50.0])
    real = torch.rand(cells, tokens, generator=generator) > 0.3
    real[:, 0] = True
    return x, real, torch.arange(cells) % 3


def collect(batches, **options):
    site = SiteStatistics(5, {"donor": 3}, special=True, **options)
    n_tokens = 0
    for x, real, donor in batches:
        special = torch.zeros_like(real)
        special[:, 0] = True
        site.update(x, Tokens(real, {"donor": donor}, special))
        n_tokens += int(real.sum())
    return site.finish(n_tokens)


def test_statistics_equal_numpys():
    x, real, donor = data()
    site = collect([data()])
    flat = x[real].double().numpy()
    size = np.abs(flat)
    assert site.max == pytest.approx(size.max(0))
    assert site.mean_size() == pytest.approx(size.mean(0))
    assert site.mean() == pytest.approx(flat.mean(0))
    assert site.kurtosis() == pytest.approx(kurtosis(flat, fisher=False), rel=1e-6)
    participation = (flat**2).sum(0) ** 2 / (len(flat) * (flat**4).sum(0))
    assert site.participation_ratio() == pytest.approx(participation)
    # The histogram's bins are 4 to 6 % wide.
    assert site.site_median() == pytest.approx(np.median(size), rel=0.03)
    assert site.quantile(0.9) == pytest.approx(np.quantile(size, 0.9, axis=0), rel=0.08)
    padded = np.where(real.numpy()[..., None], np.abs(x.numpy()), 0)
    top = padded.max(1).argmax(1)
    assert np.array_equal(site.top, np.bincount(top, minlength=5))
    for channel in range(5):
        place = np.unravel_index(padded[..., channel].argmax(), padded.shape[:2])
        assert (site.max_cell[channel], site.max_token[channel]) == place
    for group in range(3):
        own = padded[donor == group]
        assert site.groups["donor"]["max"][group] == pytest.approx(own.max((0, 1)))
        assert site.groups["donor"]["sum"][group] == pytest.approx(own.sum((0, 1)), rel=1e-6)
        assert site.groups["donor"]["tokens"][group] == real[donor == group].sum()
    kinds = site.groups["token"]
    assert kinds["max"] == pytest.approx(np.stack([padded[:, 0].max(0), padded[:, 1:].max((0, 1))]))
    assert kinds["sum"].sum(0) == pytest.approx(size.sum(0))
    assert kinds["tokens"].tolist() == [40, int(real.sum()) - 40]


def test_batches_add_up_to_the_whole():
    whole = collect([data()])
    parts = collect([[part[i : i + 7] for part in data()] for i in range(0, 40, 7)])
    for name in ("histogram", "max", "max_cell", "max_token", "top", "zeros"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name)), name
    assert whole.powers == pytest.approx(parts.powers, rel=1e-12)


def test_memory_does_not_grow_with_cells():
    """Nothing is kept of a batch: the state is as large after fifty as after one."""
    x, real, donor = data()
    site = SiteStatistics(5, {"donor": 3})
    sizes = []
    for _ in range(50):
        site.update(x, Tokens(real, {"donor": donor}))
        held = [*site._state.values(), *(v for v in vars(site).values() if torch.is_tensor(v))]
        lists = [v for v in vars(site).values() if isinstance(v, list | tuple)]
        sizes.append((sum(t.numel() * t.element_size() for t in held), len(lists)))
    assert site.n_cells == 50 * len(x) and len(set(sizes)) == 1


def test_padding_never_enters():
    x, real, donor = data()
    spoiled = torch.where(real[..., None], x, torch.tensor(1e5))
    clean, dirty = collect([(x, real, donor)]), collect([(spoiled, real, donor)])
    assert np.array_equal(clean.max, dirty.max)
    assert np.array_equal(clean.histogram, dirty.histogram)
    assert clean.histogram.sum(1).tolist() == [int(real.sum())] * 5


def test_the_median_of_a_relu_is_over_its_positive_entries():
    x, real, donor = data()
    hidden = torch.relu(x)
    site = collect([(hidden, real, donor)], positive_only=True)
    positive = hidden[real].numpy()
    assert site.site_median() == pytest.approx(np.median(positive[positive > 0]), rel=0.03)
    assert site.zero_share() == pytest.approx((positive == 0).mean(0))


def test_every_number_lies_in_its_bin():
    size = torch.cat([torch.logspace(-14, 14, 4001), torch.tensor([0.0, 1.0, 2.0, 1.9999999])])
    bins = bin_of(size)
    assert bins.min() == 0 and bins.max() == BINS + 1
    for number in (1e-9, 0.001, 0.7, 1.0, 3.3, 1000.0, 1e10):
        counts = np.zeros(BINS + 2, np.int64)
        counts[int(bin_of(torch.tensor([number]))[0])] = 1
        low, high = histogram_quantile(counts, 1e-9), histogram_quantile(counts, 1.0)
        assert low <= number * (1 + 1e-6) and number < high * (1 + 1e-6)
        assert high / low < 1.063
    assert histogram_quantile(np.zeros(BINS + 2), 0.5) == 0
