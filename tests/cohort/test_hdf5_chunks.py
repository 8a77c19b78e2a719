"""Chunks that are read and written past HDF5's filters give what HDF5 gives."""

from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from scsw.cohort import hdf5_chunks
from scsw.cohort.hdf5_chunks import ChunkReader, ChunkWriter, n_threads, write_together

N, SIZE = 1000, 64  # the last chunk is not full
STORED = {
    "gzip": {"chunks": (SIZE,), "compression": "gzip"},
    "gzip and shuffle": {"chunks": (SIZE,), "compression": "gzip", "shuffle": True},
    "gzip 9": {"chunks": (SIZE,), "compression": "gzip", "compression_opts": 9},
    "one chunk": {"chunks": (N,), "compression": "gzip", "shuffle": True},
    "gzip and checksum": {"chunks": (SIZE,), "compression": "gzip", "fletcher32": True},
    "lzf": {"chunks": (SIZE,), "compression": "lzf"},
    "shuffle only": {"chunks": (SIZE,), "shuffle": True},
    "chunks only": {"chunks": (SIZE,)},
    "contiguous": {},
}
TYPES = ["<f4", "<f8", "<i4", "<i8", "<u2", "u1", ">f4", ">i4"]
SLICES = [(0, N), (0, 1), (0, SIZE), (SIZE, 2 * SIZE), (SIZE - 1, SIZE + 1), (5, 5), (N - 1, N),
          (3, 700), (700, N), (N, N)]  # fmt: skip


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as opened:
        yield opened


def values(dtype):
    return np.random.default_rng(0).poisson(3, N).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("stored", STORED)
def test_slices_are_those_of_h5py(file, pool, stored, dtype):
    dataset = file.create_dataset("d", data=values(dtype), **STORED[stored])
    reader = ChunkReader(dataset, pool)
    for start, stop in SLICES:
        found = reader.read(start, stop)
        assert found.dtype == dataset.dtype
        np.testing.assert_array_equal(found, dataset[start:stop])


@pytest.mark.parametrize("step", [1, 37, SIZE, 3 * SIZE, N])
def test_from_front_to_back_each_chunk_is_read_once(file, pool, step, monkeypatch):
    """A chunk that two slices share is kept from the first to the second."""
    dataset = file.create_dataset("d", data=values("<f4"), **STORED["gzip and shuffle"])
    reader, decoded = ChunkReader(dataset, pool), []
    original = ChunkReader._decoded
    monkeypatch.setattr(
        ChunkReader, "_decoded", lambda *given: decoded.append(1) or original(*given)
    )
    parts = [reader.read(n, min(n + step, N)) for n in range(0, N, step)]
    np.testing.assert_array_equal(np.concatenate(parts), dataset[:])
    assert len(decoded) == -(-N // SIZE)


@pytest.mark.parametrize("stored", STORED)
def test_slices_may_be_written_to(file, pool, stored):
    """Counts are sorted in place; what a later slice gets must not change."""
    dataset = file.create_dataset("d", data=values("<i4"), **STORED[stored])
    reader = ChunkReader(dataset, pool)
    for start, stop in [(0, 10), (5, 90), (80, 120), (110, 125)]:
        found = reader.read(start, stop)
        np.testing.assert_array_equal(found, dataset[start:stop])
        found[:] = -1


def test_only_gzip_chunks_are_taken_past_hdf5(file):
    direct = {
        name
        for name, stored in STORED.items()
        if hdf5_chunks._filters(file.create_dataset(name, data=values("<f4"), **stored))
    }
    assert direct == {"gzip", "gzip and shuffle", "gzip 9", "one chunk"}
    big_endian = file.create_dataset("big", data=values(">f4"), **STORED["gzip"])
    assert not hdf5_chunks._filters(big_endian)


def test_a_chunk_that_was_never_written_holds_the_fill_value(file, pool):
    dataset = file.create_dataset("d", (N,), "<i4", fillvalue=7, **STORED["gzip"])
    dataset[:SIZE] = 1
    found = ChunkReader(dataset, pool).read(0, N)
    np.testing.assert_array_equal(found, [1] * SIZE + [7] * (N - SIZE))


def test_a_chunk_that_no_filter_was_applied_to(file, pool):
    """HDF5 marks a chunk that gzip would have made larger, and stores it as it is."""
    dataset = file.create_dataset("d", (2 * SIZE,), "<i4", **STORED["gzip and shuffle"])
    dataset[:] = np.arange(2 * SIZE)
    plain = np.arange(100, 100 + SIZE, dtype="<i4")
    dataset.id.write_direct_chunk((SIZE,), plain.tobytes(), filter_mask=0b11)
    found = ChunkReader(dataset, pool).read(0, 2 * SIZE)
    np.testing.assert_array_equal(found, [*range(SIZE), *plain])
    np.testing.assert_array_equal(found, dataset[:])


def test_an_empty_dataset(file, pool):
    dataset = file.create_dataset("d", (0,), "<f4", maxshape=(None,), **STORED["gzip"])
    assert ChunkReader(dataset, pool).read(0, 0).shape == (0,)


@pytest.mark.parametrize("damage", ["overwritten", "cut"])
def test_a_damaged_chunk_is_an_error(file, pool, damage):
    dataset = file.create_dataset("d", data=values("<f4"), **STORED["gzip and shuffle"])
    _, packed = dataset.id.read_direct_chunk((SIZE,))
    wrong = b"\x00" * len(packed) if damage == "overwritten" else packed[: len(packed) // 2]
    dataset.id.write_direct_chunk((SIZE,), wrong)
    reader = ChunkReader(dataset, pool)
    np.testing.assert_array_equal(reader.read(0, SIZE), values("<f4")[:SIZE])
    with pytest.raises(OSError, match="damaged"):
        reader.read(0, N)


def finished(*writers):
    for writer in writers:
        writer.pad()
    write_together(writers)
    for writer in writers:
        writer.close()


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.uint16])
@pytest.mark.parametrize("n", [0, 1, SIZE, SIZE + 1, N])
def test_written_values_are_read_by_h5py(file, pool, monkeypatch, dtype, n):
    monkeypatch.setattr(hdf5_chunks, "CHUNK", SIZE)
    writer = ChunkWriter(file, "d", dtype, pool)
    writer.append(values(dtype)[:n])
    finished(writer)
    assert file["d"].dtype == dtype and file["d"].shape == (n,)
    assert (file["d"].compression, file["d"].shuffle, file["d"].chunks) == ("gzip", True, (SIZE,))
    np.testing.assert_array_equal(file["d"][:], values(dtype)[:n])
    np.testing.assert_array_equal(ChunkReader(file["d"], pool).read(0, n), values(dtype)[:n])


def test_the_file_does_not_depend_on_the_cuts(tmp_path, pool, monkeypatch):
    """Two datasets, as the data and the indices of a matrix; even no cut gives the same bytes."""
    monkeypatch.setattr(hdf5_chunks, "CHUNK", SIZE)
    random, written = np.random.default_rng(1), []
    for number, n_cuts in enumerate([0, 1, 5, 40, 300]):
        cuts = np.sort(random.integers(0, N, n_cuts))
        path = tmp_path / f"{number}.h5"
        with h5py.File(path, "w") as file:
            writers = [ChunkWriter(file, name, np.int32, pool) for name in ("data", "indices")]
            for part in np.split(values("<i4"), cuts):
                writers[0].append(part)
                writers[1].append(-part)
                write_together(writers)
            finished(*writers)
            np.testing.assert_array_equal(file["indices"][:], -values("<i4"))
        written.append(path.read_bytes())
    assert len(set(written)) == 1


def test_threads_are_few():
    assert 1 <= n_threads() <= 8
