"""How many values are held at once."""

import pytest

from scsw.cohort.memory import block_values
from scsw.errors import ScswError


def test_more_memory_never_means_fewer_values():
    sizes = [block_values(gigabytes, 300_000) for gigabytes in (0.5, 0.55, 0.6, 2, 4, 64)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == sizes[-2]  # larger blocks are no faster
    assert 0 < sizes[0] < sizes[-1]


def test_the_default_suits_the_largest_public_file():
    """SEA-AD's DLPFC: 1.4 million nuclei in 4 GB."""
    assert block_values(4, 1_395_601) == block_values(64, 1_395_601)


def test_the_annotation_of_more_cells_leaves_less():
    sizes = [block_values(1, n) for n in (1000, 900_000, 1_000_000)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[-1]


@pytest.mark.parametrize(("gigabytes", "n_cells"), [(0.1, 10), (1, 2_000_000), (4, 10_000_000)])
def test_too_little_says_how_much_is_needed(gigabytes, n_cells):
    with pytest.raises(ScswError, match=r"raise preprocess.memory_gb") as caught:
        block_values(gigabytes, n_cells)
    message = str(caught.value)
    assert f"{gigabytes:g} GB" in message and f"{n_cells} cells" in message
    needed = float(caught.value.expected.split()[1])
    assert needed > gigabytes
    assert block_values(needed + 0.1, n_cells) > 0  # and that is enough
