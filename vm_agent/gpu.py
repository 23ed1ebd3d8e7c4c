"""The GPUs of this machine, as their driver answers: NVML for the facts, a tiny allocation on each as the proof.

    python -P -m vm_agent.gpu        prints {"gpus": [...]} or {"problem": "..."}

A driver that hangs or crashes takes only this child process with it, and no CUDA context stays behind in the agent.
The allocation goes through the driver's own library (libcuda.so.1 comes with the driver): no CUDA toolkit is needed.
"""

import asyncio
import contextlib
import ctypes
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from vm_agent import policy

_ALLOCATION_BYTES = 1 << 20


class NoGpu(Exception):
    """No GPU answers; the message says why."""


class GpuProbe(Protocol):
    """Asks the machine for its GPUs."""

    async def look(self) -> list[dict[str, Any]]:
        """The fields of protocol.Gpu for each; NoGpu if none answers."""


@dataclass(frozen=True)
class ChildProbe:
    """Asks in a child process."""

    command: tuple[str, ...] = (sys.executable, "-P", "-m", "vm_agent.gpu")

    async def look(self) -> list[dict[str, Any]]:
        """Kill the child if it does not answer in time."""
        child = await asyncio.create_subprocess_exec(
            *self.command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(policy.GPU_PROBE_SECONDS):
                printed, _ = await child.communicate()
        except TimeoutError as problem:
            raise NoGpu("the GPU driver does not answer") from problem
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            with contextlib.suppress(TimeoutError):  # a driver that hangs can hold even a killed child
                await asyncio.wait_for(child.wait(), policy.GPU_PROBE_END_SECONDS)
        return _understood(printed, child.returncode)


def _understood(printed: bytes, code: int | None) -> list[dict[str, Any]]:
    try:
        answer = json.loads(printed)
    except ValueError:
        raise NoGpu(f"asking the GPU driver ended with exit code {code}") from None
    if "problem" in answer:
        raise NoGpu(answer["problem"])
    return list(answer["gpus"])


def main() -> None:
    """Print what the driver says."""
    try:
        answer: dict[str, Any] = {"gpus": _described()}
        for index in range(len(answer["gpus"])):
            _allocate(index)
    except NoGpu as problem:
        answer = {"problem": str(problem)}
    print(json.dumps(answer))  # noqa: T201 - the parent reads it


def _described() -> list[dict[str, Any]]:
    import pynvml  # type: ignore[import-untyped]  # noqa: PLC0415 - only this child needs it

    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        facts = [
            {
                "name": _text(pynvml.nvmlDeviceGetName(handle)),
                "memory_bytes": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                "driver": driver,
                "ecc_errors": _ecc_errors(pynvml, handle),
            }
            for handle in handles
        ]
    except pynvml.NVMLError as problem:
        raise NoGpu(f"the NVIDIA driver does not answer: {problem}") from problem
    if not facts:
        raise NoGpu("the NVIDIA driver answers, but sees no GPU")
    return facts


def _ecc_errors(pynvml: Any, handle: Any) -> int | None:
    try:
        return int(
            pynvml.nvmlDeviceGetTotalEccErrors(
                handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
            )
        )
    except pynvml.NVMLError:
        return None  # a GPU without ECC, or with ECC turned off


def _allocate(index: int) -> None:
    """A megabyte on that GPU, and free it again: NVML may still answer for a GPU that can no longer work."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as problem:
        raise NoGpu(f"the driver's CUDA library cannot be loaded: {problem}") from problem
    device, memory = ctypes.c_int(), ctypes.c_uint64()
    _must(cuda, "cuInit", 0)
    _must(cuda, "cuDeviceGet", ctypes.byref(device), index)
    with _context(cuda, device):
        _must(cuda, "cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(_ALLOCATION_BYTES))
        _must(cuda, "cuMemFree_v2", memory)


@contextlib.contextmanager
def _context(cuda: ctypes.CDLL, device: ctypes.c_int) -> Iterator[None]:
    context = ctypes.c_void_p()
    _must(cuda, "cuCtxCreate_v2", ctypes.byref(context), ctypes.c_uint(0), device)
    try:
        yield
    finally:
        cuda.cuCtxDestroy_v2(context)


def _must(cuda: ctypes.CDLL, name: str, *arguments: Any) -> None:
    if code := getattr(cuda, name)(*arguments):
        raise NoGpu(f"the GPU does not work: {name} answered with CUDA error {code}")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


if __name__ == "__main__":
    main()
