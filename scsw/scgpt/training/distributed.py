"""Fine-tuning on several devices of one machine: one process each, for the same loss.

Each process computes its share of the cells of a step, and the gradients are added up before the
optimiser's step, which all take alike. So the loss is that of the whole batch, and a run on two
devices is the run on one, but for the draws of dropout, which are each process's own.

This is plain data parallelism through `torch.distributed`. Lightning Fabric would add a dependency
for what is here already: seeding, accumulation and resuming. And `DistributedDataParallel` adds up
gradients within the backward pass, where one process that repeats a step for lack of memory would
leave the others waiting for ever. Every process prepares the whole batch of a step, which costs
little beside computing it, and so knows what to divide its share of the loss by.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import queue
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from multiprocessing.connection import wait
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from scsw.errors import ScswError
from scsw.scgpt.training.stopping import StopRequest, stop_request

_GRACE = 15.0  # seconds in which processes may end by themselves when one has failed


class Processes:
    """The processes that train one model together.

    Attributes
    ----------
    rank, size
        Number of this process, the first being 0, and how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1, stop: Any = None) -> None:
        self.rank, self.size, self._stop = rank, size, stop

    @property
    def first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def stop_request(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context that tells whether the run was asked to end."""
        return stop_request() if self._stop is None else contextlib.nullcontext(self._stop)

    def sum(self, values: Iterable[float]) -> list[float]:
        """Add up numbers over the processes."""
        values = torch.tensor(list(values), dtype=torch.float64)
        if self.size > 1:
            dist.all_reduce(values)
        return values.tolist()

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Add up the gradients over the processes, in place; one that is missing counts as 0."""
        if self.size == 1:
            return
        trained = [p for p in parameters if p.requires_grad]
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        together = torch.cat([p.grad.flatten() for p in trained])
        dist.all_reduce(together)
        pieces = together.split([p.numel() for p in trained])
        # At once: for each alone, a small step would wait for the launches.
        torch._foreach_copy_(
            [p.grad for p in trained], [x.view_as(p) for x, p in zip(pieces, trained, strict=True)]
        )

    def all_rows(self, own: Tensor, start: int, total: int) -> Tensor:
        """Return the rows of all processes; only `own`, from row `start` on, have a gradient."""
        if self.size == 1:
            return own
        rows = own.new_zeros(total, own.shape[1])
        rows[start : start + len(own)] = own.detach()
        dist.all_reduce(rows)
        return torch.cat([rows[:start], own, rows[start + len(own) :]])

    def gather(self, value: Any) -> list[Any]:
        """Return a value of each process, that of the first process first."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Wait until every process is here."""
        self.sum([])


def launch(function: Callable[..., None], size: int, on_gpu: bool, **given: Any) -> None:
    """Run a function in several new processes and wait for them.

    Parameters
    ----------
    function
        Called as ``function(processes, **given)`` in each process.
    size
        Number of processes.
    on_gpu
        Whether each has a GPU of its own, in the order of their numbers.
    given
        Picklable arguments.

    Raises
    ------
    ScswError
        If a process raised it.
    RuntimeError
        If a process failed otherwise; it holds that process's traceback.
    SystemExit
        If the run was asked to end, and did so.
    """
    context = multiprocessing.get_context("spawn")  # a fork could not use CUDA
    with tempfile.TemporaryDirectory() as folder, stop_request() as stop:
        number, errors = context.Value("i", 0), context.Queue()
        told = (size, on_gpu, folder, number, errors)
        members = [
            context.Process(target=_member, args=(rank, *told, function, given))
            for rank in range(size)
        ]
        for member in members:
            member.start()
        try:
            failed = _watch(members, stop, number)
        finally:
            for member in members:
                member.kill()
                member.join()
        if failed is not None:
            raise _error(errors, failed)
        if stop and any(member.exitcode for member in members):
            raise SystemExit(stop.exit_status)


def _watch(members: list[Any], stop: StopRequest, number: Any) -> int | None:
    """Return when every process has ended, or soon after one has failed: the status of that one."""
    until = math.inf
    while (alive := [m for m in members if m.exitcode is None]) and time.monotonic() < until:
        wait([member.sentinel for member in alive], timeout=0.2)
        if stop:
            number.value = stop.signal
        if until == math.inf and _failed(members, stop):
            until = time.monotonic() + _GRACE
    return _failed(members, stop)


def _failed(members: list[Any], stop: StopRequest) -> int | None:
    """Return the status of a process that failed, first of all of one that a signal ended."""
    codes = [m.exitcode for m in members if m.exitcode not in (None, 0, stop.exit_status)]
    return min(codes, default=None)


def _error(errors: Any, failed: int) -> Exception:
    """Return the error of a failed run: a user's mistake before others, the first before the rest.

    A process that was killed left none; of those of the others only a user's mistake counts then.
    """
    found: dict[str, str] = {}
    with contextlib.suppress(queue.Empty):
        while True:
            kind, text = errors.get(timeout=0.5)
            found.setdefault(kind, text)
    if "user" in found:
        return ScswError(found["user"])
    if failed < 0:
        return ScswError(
            f"a process of the run was ended by signal {-failed}",
            fix="if it took too much memory (signal 9), ask for more, or lower compute.devices",
        )
    unknown = f"a process of the run ended with status {failed}; its output says why"
    return RuntimeError(found.get("other", unknown))


def _member(
    rank: int,
    size: int,
    on_gpu: bool,
    folder: str,
    number: Any,
    errors: Any,
    function: Callable[..., None],
    given: dict[str, Any],
) -> None:
    """Be one of the processes."""
    # Back to the platform's: locks of a spawned process would be told to leak as it ends below.
    multiprocessing.set_start_method(None, force=True)
    for each in (signal.SIGTERM, signal.SIGINT):  # the process that launched this one passes it on
        signal.signal(each, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    code = 1
    try:
        _join(rank, size, on_gpu, folder)
        function(Processes(rank, size, _SharedStop(number)), **given)
        code = 0
    except SystemExit as stop:
        code = stop.code
    except ScswError as error:
        _report(errors, "user", str(error))
    except Exception:
        _report(errors, "other", traceback.format_exc())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # as `scsw.cli.main` does; and waiting for nobody, who may wait for this process


def _report(errors: Any, kind: str, text: str) -> None:
    errors.put((kind, text))
    errors.close()
    errors.join_thread()


def _join(rank: int, size: int, on_gpu: bool, folder: str) -> None:
    """Meet the other processes; numbers go over the CPU, gradients over the GPUs if there are."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    backend = "gloo"
    if on_gpu:
        torch.cuda.set_device(rank)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, f"file://{folder}/store", rank=rank, world_size=size)


def _end_with_parent() -> None:
    """End when the process that launched this one is gone, however it ended."""
    multiprocessing.parent_process().join()
    os._exit(1)


class _SharedStop:
    """A `StopRequest` that another process received."""

    def __init__(self, number: Any) -> None:
        self._number = number

    def __bool__(self) -> bool:
        return self._number.value != 0

    @property
    def exit_status(self) -> int:
        return 128 + self._number.value
