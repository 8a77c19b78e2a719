"""One-dimensional HDF5 datasets read and written chunk by chunk, compressed in threads.

Nearly all the time of reading and writing a large h5ad goes into gzip. HDF5 hands out and takes
chunks as they stand in the file, so that work is done here, on all cores. ISA-L decompresses, about
twice as fast as zlib. zlib compresses: the output of ISA-L was once seen to differ for the same
input (its makers were asked about that in intel/isa-l issue 140). Files stay ordinary
gzip-compressed HDF5.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import h5py
import numpy as np
from isal import isal_zlib

CHUNK = 1 << 17  # values; fixed, so that the same counts always give the same file
LEVEL = 1
THREADS_VARIABLE = "SCSW_THREADS"
_DEFLATE, _SHUFFLE = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE


def n_threads() -> int:
    """Return how many threads compress: ``SCSW_THREADS``, else the job's cores, at most 8.

    No result depends on it.
    """
    if given := os.environ.get(THREADS_VARIABLE):
        return max(1, int(given))
    if hasattr(os, "sched_getaffinity"):
        return min(8, len(os.sched_getaffinity(0)))
    return min(8, os.cpu_count() or 1)


class ChunkReader:
    """Reads slices of a one-dimensional dataset from front to back.

    Parameters
    ----------
    dataset
        Any one-dimensional dataset. One that is stored in gzip chunks (with or without byte
        shuffling) is decompressed here; all others are left to HDF5.
    pool
        Threads that decompress.
    """

    def __init__(self, dataset: h5py.Dataset, pool: ThreadPoolExecutor) -> None:
        self._dataset, self._pool = dataset, pool
        self._filters = _filters(dataset)
        self._last: tuple[int, np.ndarray] | None = None  # a slice mostly ends within a chunk

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the values from `start` to `stop`, in the dataset's type."""
        size = self._dataset.chunks[0] if self._filters else 0
        if not self._filters or stop <= start:
            return self._dataset[start:stop]
        numbers = range(start // size, -(-stop // size))
        pieces = list(self._chunks(numbers, size))
        self._last = (numbers[-1], pieces[-1])
        offset = numbers[0] * size
        if len(pieces) == 1:  # kept for the next slice, so the caller gets a copy to write to
            return pieces[0][start - offset : stop - offset].copy()
        return np.concatenate(pieces)[start - offset : stop - offset]

    def _chunks(self, numbers: range, size: int) -> Iterator[np.ndarray]:
        waiting: list[Future | np.ndarray] = []
        for number in numbers:
            if self._last and self._last[0] == number:
                waiting.append(self._last[1])
            else:
                mask, stored = self._dataset.id.read_direct_chunk((number * size,))
                waiting.append(self._pool.submit(self._decoded, mask, stored))
        for chunk in waiting:
            yield chunk if isinstance(chunk, np.ndarray) else chunk.result()

    def _decoded(self, mask: int, stored: bytes) -> np.ndarray:
        """Undo the filters from the last to the first; a set bit of `mask` says: not applied."""
        for place in reversed(range(len(self._filters))):
            if mask >> place & 1:
                continue
            if self._filters[place] == _DEFLATE:
                stored = _decompressed(stored)
            else:
                planes = np.frombuffer(stored, np.uint8).reshape(self._dataset.dtype.itemsize, -1)
                values = np.empty(planes.shape[::-1], np.uint8)
                for byte, plane in enumerate(planes):  # three times as fast as a transposed copy
                    values[:, byte] = plane
                stored = values.data
        return np.frombuffer(stored, self._dataset.dtype)


class ChunkWriter:
    """Appends to a new one-dimensional dataset of gzip chunks with byte shuffling.

    The file does not depend on how the values are cut into calls of `append`.

    Parameters
    ----------
    group, name
        Where the dataset is made.
    dtype
        Type of its values.
    pool
        Threads that compress.
    """

    def __init__(
        self, group: h5py.Group, name: str, dtype: type[np.generic], pool: ThreadPoolExecutor
    ) -> None:
        self._dataset = group.create_dataset(
            name, (0,), dtype, maxshape=(None,), chunks=(CHUNK,), shuffle=True, compression="gzip",
            compression_opts=LEVEL,
        )  # fmt: skip
        self._pool = pool
        self._rest = np.empty(0, dtype)
        self._pending: list[Future] = []
        self._written = self._length = 0  # chunks; values

    def append(self, values: np.ndarray) -> None:
        """Append values of the dataset's type; whole chunks are compressed from now on."""
        joined = np.concatenate([self._rest, values]) if len(self._rest) else values
        n_full = len(joined) // CHUNK * CHUNK
        for start in range(0, n_full, CHUNK):
            self._submit(joined[start : start + CHUNK])
        self._rest = joined[n_full:].copy()

    def write_next(self) -> bool:
        """Write the next chunk, when it is compressed; return whether there was one."""
        if not self._pending:
            return False
        self._dataset.resize(((self._written + 1) * CHUNK,))
        self._dataset.id.write_direct_chunk((self._written * CHUNK,), self._pending.pop(0).result())
        self._written += 1
        return True

    def pad(self) -> None:
        """Make a chunk of what is left: nothing can be appended afterwards."""
        self._length = (self._written + len(self._pending)) * CHUNK + len(self._rest)
        if len(self._rest):
            self._submit(np.pad(self._rest, (0, CHUNK - len(self._rest))))

    def close(self) -> None:
        """Cut the padding off, when the last chunk is written."""
        self._dataset.resize((self._length,))

    def _submit(self, values: np.ndarray) -> None:
        self._pending.append(self._pool.submit(_compressed, values))


def write_together(writers: Sequence[ChunkWriter]) -> None:
    """Write the chunks of datasets of equal length in turn, so that their order is always one."""
    while all([writer.write_next() for writer in writers]):
        pass


def _compressed(values: np.ndarray) -> bytes:
    planes = values.view(np.uint8).reshape(-1, values.dtype.itemsize).T
    return zlib.compress(np.ascontiguousarray(planes), LEVEL)


def _filters(dataset: h5py.Dataset) -> list[int]:
    """Return the dataset's filters if they are gzip and shuffling only and no chunk is absent."""
    if not dataset.chunks or dataset.dtype.byteorder == ">" or dataset.dtype.kind not in "iufb":
        return []
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(place)[0] for place in range(properties.get_nfilters())]
    is_known = _DEFLATE in filters and set(filters) <= {_DEFLATE, _SHUFFLE}
    n_chunks = -(-dataset.shape[0] // dataset.chunks[0])
    return filters if is_known and dataset.id.get_num_chunks() == n_chunks else []


def _decompressed(stored: bytes) -> bytes:
    try:
        return isal_zlib.decompress(stored)
    except isal_zlib.error as error:
        raise OSError(f"a compressed chunk is damaged: {error}") from error
