"""Which neighbours a cell keeps, on a line where they can be told by eye."""

import numpy as np
import torch

from scsw.superweight.pruning.edits import Edit
from scsw.superweight.pruning.neighbourhood import Embeddings, nearest_cells, neighbours_kept

LINE = np.array([[0.0], [1.0], [2.1], [10.0], [11.0], [12.1]])


def test_neighbours_by_hand():
    near = nearest_cells(LINE, 2)
    assert [set(row) for row in near] == [{1, 2}, {0, 2}, {0, 1}, {4, 5}, {3, 5}, {3, 4}]
    moved = LINE.copy()
    moved[0] = 13.0
    kept = neighbours_kept(near, nearest_cells(moved, 2))
    assert kept.tolist() == [0.0, 0.5, 0.5, 1.0, 1.0, 0.5]


def test_few_cells_have_fewer_neighbours():
    assert nearest_cells(np.eye(4)).shape == (4, 3)


def test_neighbours_are_summed_over_batches_for_zeroed_candidates_alone():
    place = ("ffn_down", 0, 1, 2)
    zeroed, mean = (Edit("a", "candidate", mode, *place) for mode in ("zero", "mean"))
    random = Edit("b", "random", "zero", *place)
    found, line = Embeddings(), torch.arange(40.0)[:, None]
    for cells in line.split(25):
        found.add([zeroed, mean, random], torch.zeros(3, len(cells), 1))
        found.add_intact(cells)
    codes = np.arange(40) % 3
    assert list(kept := found.kept_sums(codes, 4)) == [zeroed]
    assert kept[zeroed].tolist() == [14.0, 13.0, 13.0, 0.0]  # every cell keeps all of its own


def test_one_cell_has_no_neighbours_to_keep():
    found = Embeddings()
    found.add([Edit("a", "candidate", "zero", "ffn_down", 0, 1, 2)], torch.zeros(1, 1, 2))
    found.add_intact(torch.ones(1, 2))
    assert found.kept_sums(np.zeros(1, int), 1) == {}
