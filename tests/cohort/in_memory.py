"""Counts in memory, for what takes a `CountMatrix`."""

from scipy import sparse

from scsw.cohort.count_matrix import CountMatrix, row_ranges


class InMemory(CountMatrix):
    def __init__(self, matrix, where="x", advice=""):
        self._matrix = sparse.csr_matrix(matrix)
        self.shape, self.n_values = self._matrix.shape, self._matrix.nnz
        self.where, self.advice = where, advice

    def blocks(self, limit, scratch, start=0):
        for first, stop in row_ranges(self._matrix.indptr, limit, start):
            yield self._matrix[first:stop]
