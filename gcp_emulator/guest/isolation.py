"""How far an emulated VM is kept apart from the machine underneath, and which way is possible here."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from enum import Enum
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHIMS = HERE / "shims"  # before the machine's own programs
SPARES = HERE / "spares"  # behind them: what an image of Google's has, and this machine may lack


class Isolation(Enum):
    """What stands between a guest's programs and the host; the value is what its console says."""

    #: The kernel: see confine.py. Scripts may be hostile.
    NAMESPACES = "own process tree, own mounts (the host is read-only), few capabilities; network and CPUs are shared"
    #: Names on PATH and MAYFLY_ROOT. Enough for scripts that mean well; `/sbin/poweroff` would reach the host.
    SHIMS = (
        "replaced commands on PATH only, no namespaces: run no script here that you would not run on the host itself"
    )


def init_command(
    isolation: Isolation,
    name: str,
    readable: Sequence[Path],
    writable: Sequence[Path],
    *,
    disk_room_bytes: int | None = None,
) -> list[str]:
    """The command line of a VM's first process. The first writable folder is its disk.

    Raises OSError if the disk cannot be made as small as asked.
    """
    init = [sys.executable, "-I", str(HERE / "init.py")]
    if isolation is not Isolation.SHIMS:
        return _confined(name, readable, writable, init, disk_room_bytes)
    if disk_room_bytes is not None:
        raise OSError("a small disk needs a machine with mounts of its own: Linux, as root or with user namespaces")
    return init


@cache
def strongest_isolation() -> Isolation:
    """The best that works for this user on this system, found by trying it (0.1 s, once a process)."""
    if sys.platform != "linux":
        return Isolation.SHIMS
    with tempfile.TemporaryDirectory() as disk:
        trial = _confined("trial", [], [Path(disk)], [sys.executable, "-I", "-c", ""])
        done = subprocess.run(trial, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return Isolation.NAMESPACES if done.returncode == 0 else Isolation.SHIMS


def _hops(link: Path) -> Iterator[Path]:
    """The folders on the way from a link to what it means: a venv's Python may be a link to another venv's."""
    while link.is_symlink():
        link = link.parent / link.readlink()
        yield link.parent


def _confined(
    name: str,
    readable: Sequence[Path],
    writable: Sequence[Path],
    program: list[str],
    disk_room_bytes: int | None = None,
) -> list[str]:
    pythons = [Path(sys.prefix), Path(sys.base_prefix), *_hops(Path(sys.executable))]
    plan = {
        "name": name,
        "readable": [str(path.resolve()) for path in [*readable, *pythons, HERE] if path.exists()],
        "writable": [str(path.resolve()) for path in writable],
        "shims": str(SHIMS),
        "disk_room_bytes": disk_room_bytes,
    }
    return [sys.executable, "-I", str(HERE / "confine.py"), json.dumps(plan), *program]
