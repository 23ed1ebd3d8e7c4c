"""Run a Python program that other users can run, too: `python -m tests.contract.opened [--net] ARGUMENTS...`.

A mount namespace of its own opens the folders above the interpreter and this checkout, which may be below root's home.
With --net it has a network of its own as well: loopback, and the metadata server's address on it.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000


def main(arguments: list[str]) -> None:
    """Never returns: becomes the program."""
    net = arguments[:1] == ["--net"]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | (CLONE_NEWNET if net else 0)):
        raise OSError(ctypes.get_errno(), "unshare")
    run("mount", "--make-rprivate", "/")
    open_up([Path(sys.base_prefix), Path(sys.prefix), CHECKOUT])
    if net:
        run("ip", "link", "set", "lo", "up")
        run("ip", "address", "add", "169.254.169.254/32", "dev", "lo")
    os.execv(sys.executable, [sys.executable, *arguments[net:]])  # noqa: S606


def open_up(needed: list[Path]) -> None:
    """Put an empty folder in the place of each closed one, with what is needed of it inside."""
    closed = {path: above for path in needed if (above := closed_above(path))}
    held = {path: Path(tempfile.mkdtemp()) for path in closed}
    for path, place in held.items():
        run("mount", "--rbind", str(path), str(place))
    for folder in {*closed.values()}:
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(folder))
    for path, place in held.items():
        path.mkdir(parents=True, exist_ok=True)
        run("mount", "--rbind", str(place), str(path))


def closed_above(path: Path) -> Path | None:
    """The topmost folder above that others may not enter."""
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & 0o001), None)


def run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
