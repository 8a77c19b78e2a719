import numpy as np

from scsw.biology.map.token_sums import TokenSums


def test_sums_over_tokens_leave_out_padding_and_cls():
    sums = TokenSums(np.array([3, 4, 5]), 2, 1)
    genes = np.array([[1, 3, 4, 0], [1, 4, 4, 5]])
    real = np.array([[True, True, True, False], [True] * 4])
    sums.add(genes, real, np.array([0, 1]), np.array([[[9, 1, 2, 9], [9, 3, 4, 5.0]]]))
    totals, counts = sums.by_group()
    assert totals[0].tolist() == [[1, 2, 0], [0, 7, 5]]
    assert counts.tolist() == [[1, 1, 0], [0, 2, 1]]


def test_no_digit_hangs_on_the_batches():
    rng = np.random.default_rng(0)
    genes, values = rng.integers(3, 6, (40, 7)), rng.normal(size=(1, 40, 7))
    found = []
    for step in (1, 7, 40):
        sums = TokenSums(np.array([3, 4, 5]), 1, 1)
        for start in range(0, 40, step):
            own = slice(start, start + step)
            tokens = genes[own]
            sums.add(tokens, tokens > 0, np.zeros(len(tokens), int), values[:, own])
        found.append(sums.by_group()[0])
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])
