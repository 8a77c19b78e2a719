"""What each of two processes does; new processes import this file alone, which must be quick."""

import json
import multiprocessing
import os
import signal

import torch

from scsw.errors import ScswError


def failing(processes, *, how):
    if processes.rank == 1:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "mistaken":
            raise ScswError("a mistake", fix="mend it")
        raise ZeroDivisionError("broken on purpose")
    processes.wait()  # for one who never comes


def locking(processes):
    global lock
    lock = multiprocessing.RLock()  # kept to the end, as tqdm keeps one


def adding(processes, *, folder):
    own = torch.full((processes.rank + 1, 2), float(processes.rank + 1), requires_grad=True)
    every = processes.all_rows(own, processes.rank, 3)
    (every[:, 0] * torch.arange(1.0, 4.0)).sum().backward()
    parameters = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))]
    if processes.rank == 0:
        parameters[0].grad = torch.tensor([1.0, 2.0])
    parameters[1].grad = torch.tensor([3.0])
    processes.add_gradients(parameters)
    found = {
        "sum": processes.sum([processes.rank, 1.5]),
        "gathered": processes.gather(processes.rank),
        "rows": every.tolist(),
        "own gradient": own.grad.tolist(),
        "gradients": [parameter.grad.tolist() for parameter in parameters],
    }
    (folder / f"{processes.rank}.json").write_text(json.dumps(found))
