"""The files that a run wrote: listed, hashed, and opened without ever leaving the run's folder.

Symbolic links are neither listed nor followed: a job must not be able to publish what is outside its folder.
A name that is not UTF-8 can be told neither in JSON nor in a URL: such a file is left out, and the run's log says so.
Standard library only: the keeper of each run imports this.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a FIFO must not wait for its writer


def inventory(folder: Path, *, hashed: bool = True) -> list[dict[str, Any]]:
    """Every regular file below the folder, by path: `path`, `size` and, if asked, `sha256`."""
    paths = sorted(path for path in _regular_files(folder) if _tellable(path))
    return [one for path in paths if (one := _described(folder, path, hashed))]


def left_out(folder: Path) -> list[str]:
    """The files whose names cannot be told."""
    return [path for path in _regular_files(folder) if not _tellable(path)]


def open_inside(folder: Path, path: str) -> int:
    """A descriptor of that regular file; FileNotFoundError for anything else, whatever tricks the path plays.

    Each component is opened relative to the one before and never through a link, so nothing can be swapped underneath.
    """
    *folders, name = path.split("/")
    if "\0" in path or any(part in {"", ".", ".."} for part in (*folders, name)):
        raise FileNotFoundError(errno.ENOENT, "not a path inside the folder", path)
    try:
        here = os.open(folder, _FOLDER)
        for part in folders:
            here = _step(here, part, _FOLDER)
        file = _step(here, name, _FILE)
    except OSError as problem:
        raise FileNotFoundError(errno.ENOENT, "no such file", path) from problem
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise FileNotFoundError(errno.ENOENT, "not a regular file", path)
    return file


def _step(here: int, part: str, flags: int) -> int:
    """Open `part` in the folder `here`, which is closed."""
    try:
        return os.open(part, flags, dir_fd=here)
    finally:
        os.close(here)


def _regular_files(folder: Path) -> Iterator[str]:
    """Their paths relative to the folder."""
    for inside, _, names in os.walk(folder):  # does not follow links to folders
        for name in names:
            path = Path(inside, name)
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path.relative_to(folder).as_posix()


def _tellable(path: str) -> bool:
    try:
        return bool(path.encode("utf-8"))
    except UnicodeEncodeError:
        return False


def _described(folder: Path, path: str, hashed: bool) -> dict[str, Any] | None:
    try:
        if not hashed:
            return {"path": path, "size": (folder / path).lstat().st_size, "sha256": None}
        with os.fdopen(open_inside(folder, path), "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"path": path, "size": os.fstat(file.fileno()).st_size, "sha256": digest}
    except OSError:  # gone since it was listed, or not ours to read: it cannot be served either
        return None
