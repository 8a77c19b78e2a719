import numpy as np
import pytest
import torch
from scipy.stats import kurtosis

from scsw.superweight.site_statistics import SiteStatistics


def data(seed=0, cells=40, tokens=9, channels=5):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(cells, tokens, channels, generator=generator) * torch.tensor([1, 2, 3, 4, 50.0])
    real = torch.rand(cells, tokens, generator=generator) > 0.3
    real[:, 0] = True
    genes = torch.randint(0, 30, (cells, tokens), generator=generator)
    bins = torch.randint(0, 51, (cells, tokens), generator=generator).float()
    return x, real, genes, bins, np.arange(cells) % 3


def collect(batches, **options):
    site = SiteStatistics(5, {"donor": 3}, **options)
    for x, real, genes, bins, donor in batches:
        site.update(x, real, genes, bins, {"donor": donor})
    return site


def test_statistics_equal_numpys():
    x, real, genes, bins, donor = data()
    site = collect([data()])
    flat = x[real].double().numpy()
    size = np.abs(flat)
    assert site.max == pytest.approx(size.max(0))
    assert site.sum_abs / site.n_tokens == pytest.approx(size.mean(0))
    assert site.mean() == pytest.approx(flat.mean(0))
    assert site.kurtosis() == pytest.approx(kurtosis(flat, fisher=False), rel=1e-6)
    # The histogram's bins are 2.3 % wide.
    assert site.site_median() == pytest.approx(np.median(size), rel=0.025)
    assert site.quantile(0.9) == pytest.approx(np.quantile(size, 0.9, axis=0), rel=0.08)
    padded = np.where(real.numpy()[..., None], np.abs(x.numpy()), 0)
    top = padded.max(1).argmax(1)
    assert np.array_equal(site.top, np.bincount(top, minlength=5))
    for channel in range(5):
        cell, token = np.unravel_index(padded[..., channel].argmax(), padded.shape[:2])
        assert site.max_gene[channel] == genes[cell, token]
        assert site.max_bin[channel] == bins[cell, token]
    for group in range(3):
        own = padded[donor == group]
        assert site.groups["donor"]["max"][group] == pytest.approx(own.max((0, 1)))
        assert site.groups["donor"]["sum"][group] == pytest.approx(own.sum((0, 1)), rel=1e-6)


def test_batches_add_up_to_the_whole():
    whole = collect([data()])
    parts = collect([[part[i : i + 7] for part in data()] for i in range(0, 40, 7)])
    assert np.array_equal(whole.histogram, parts.histogram)
    assert np.array_equal(whole.max, parts.max)
    assert np.array_equal(whole.max_gene, parts.max_gene)
    assert np.array_equal(whole.top, parts.top)
    assert whole.powers == pytest.approx(parts.powers, rel=1e-12)


def test_padding_never_enters():
    x, real, genes, bins, donor = data()
    spoiled = torch.where(real[..., None], x, torch.tensor(1e5))
    clean, dirty = (
        collect([(x, real, genes, bins, donor)]),
        collect([(spoiled, real, genes, bins, donor)]),
    )
    assert np.array_equal(clean.max, dirty.max)
    assert np.array_equal(clean.histogram, dirty.histogram)


def test_the_median_of_a_relu_is_over_its_positive_entries():
    x, real, genes, bins, donor = data()
    hidden = torch.relu(x)
    site = collect([(hidden, real, genes, bins, donor)], positive_only=True)
    positive = hidden[real].numpy()
    assert site.site_median() == pytest.approx(np.median(positive[positive > 0]), rel=0.025)
    assert site.n_zero == (positive == 0).sum()
