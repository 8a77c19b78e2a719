"""CUDA C++ compiled while scsw runs, by NVRTC, which torch's builds for NVIDIA GPUs bring along."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor


class Kernel:
    """A compiled kernel on one GPU.

    Parameters
    ----------
    source, name
        CUDA C++ without includes, and the kernel's name, which is ``extern "C"``.
    macros
        What the source leaves to be defined.
    device
        The GPU.
    shared
        Most bytes of shared memory that a block of threads will ask for.

    Raises
    ------
    RuntimeError
        If the source does not compile, or a call of CUDA fails.
    """

    def __init__(
        self, source: str, name: str, macros: dict[str, int], device: torch.device, shared: int
    ) -> None:
        from cuda.bindings import driver

        self._launch = driver.cuLaunchKernel
        with torch.cuda.device(device):
            self._module = _call(driver.cuModuleLoadData, _compiled(source, macros, device))
            self._kernel = _call(driver.cuModuleGetFunction, self._module, name.encode())
            limit = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            _call(driver.cuFuncSetAttribute, self._kernel, limit, shared)

    def __call__(
        self, grid: tuple[int, int], threads: int, shared: int, *arguments: Tensor | int
    ) -> None:
        """Run on the current stream; tensors are handed over as pointers, numbers as ``int``."""
        values = tuple(a.data_ptr() if isinstance(a, Tensor) else a for a in arguments)
        types = tuple(ctypes.c_void_p if isinstance(a, Tensor) else ctypes.c_int for a in arguments)
        device = next(a.device for a in arguments if isinstance(a, Tensor))
        with torch.cuda.device(device):
            stream = torch.cuda.current_stream().cuda_stream
            size = (*grid, 1, threads, 1, 1, shared)
            _call(self._launch, self._kernel, *size, stream, (values, types), 0)


def missing() -> str | None:
    """Return what is lacking for `Kernel`, in words, or None."""
    try:
        from cuda.bindings import driver, nvrtc

        _call(nvrtc.nvrtcVersion)
        _call(driver.cuDriverGetVersion)
    except ImportError:
        return "the package cuda-bindings, which torch's CUDA builds for Linux bring along"
    except RuntimeError as error:
        return f"a working NVRTC ({error})"
    return None


def _compiled(source: str, macros: dict[str, int], device: torch.device) -> bytes:
    """Return the machine code for `device`."""
    from cuda.bindings import nvrtc

    major, minor = torch.cuda.get_device_capability(device)
    options = [f"--gpu-architecture=sm_{major}{minor}", *(f"-D{k}={v}" for k, v in macros.items())]
    program = _call(nvrtc.nvrtcCreateProgram, source.encode(), b"scsw.cu", 0, [], [])
    try:
        _call(nvrtc.nvrtcCompileProgram, program, len(options), [o.encode() for o in options])
    except RuntimeError as error:
        log = b" " * _call(nvrtc.nvrtcGetProgramLogSize, program)
        _call(nvrtc.nvrtcGetProgramLog, program, log)
        raise RuntimeError(f"{error}: {log.decode()}") from None
    code = b" " * _call(nvrtc.nvrtcGetCUBINSize, program)
    _call(nvrtc.nvrtcGetCUBIN, program, code)
    _call(nvrtc.nvrtcDestroyProgram, program)
    return code


def _call(function: Any, *arguments: Any) -> Any:
    """Call a function of CUDA and return what it gives beside its status."""
    status, *found = function(*arguments)
    if status.value != 0:
        raise RuntimeError(f"{function.__name__}: {status.name}")
    return found[0] if found else None
