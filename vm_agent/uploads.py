"""Files that callers bring for a run: sent in parts, known by their SHA-256, named in the run's params.

A caller that lost its connection asks how much is here and goes on from there. `mayfly-upload:SHA256/NAME` as the value
of a param becomes the path of that file in the run's own folder, which goes when the run is over.
"""

import asyncio
import hashlib
import math
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vm_agent import policy
from vm_agent.containers import inside
from vm_agent.problems import BadOffset, BadRequest, NotFound, PartOnItsWay, TooLarge, WrongFile
from vm_agent.protocol import UPLOAD_SCHEME, ImageJob, Job, Upload

_DIGEST = re.compile("[0-9a-f]{64}")
_NAMED = re.compile(rf"{UPLOAD_SCHEME}:(?P<digest>[0-9a-f]{{64}})/(?P<name>[^/\0]{{1,200}})")
_PART = ".part"


class Uploads:
    """A folder of them: DIGEST when it is whole, DIGEST.part before. No more bytes in all than `bytes_max`, those that
    callers have announced included, nor than the disk has.
    """

    def __init__(self, folder: Path, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._taking: set[Path] = set()  # parts that a caller is sending just now
        self._announced: dict[Path, int] = {}  # bytes that a part is to have; unknown after the agent began anew

    def find(self, digest: str) -> Upload:
        """How much of it is here."""
        whole, part = self._places(digest)
        begun = _size(part)  # first: it becomes the whole at any moment, and never the other way round
        if whole.exists():
            return Upload(sha256=digest, size=_size(whole), complete=True)
        return Upload(sha256=digest, size=begun, complete=False)

    async def append(self, digest: str, *, total: int, offset: int, pieces: AsyncIterator[bytes]) -> Upload:
        """Add a part of a file of `total` bytes. BadOffset, PartOnItsWay, TooLarge, WrongFile."""
        here = self.find(digest)
        whole, part = self._places(digest)
        if here.complete:
            return here
        if part in self._taking:
            raise PartOnItsWay("another caller sends this very file")
        if here.size > total:  # somebody began it with a wrong size
            self._drop(part)
            here = self.find(digest)
        if offset != here.size:
            raise BadOffset(f"{here.size} bytes of this file are here")
        self._make_room(total, part)
        self._taking.add(part)
        self._announced[part] = total
        try:
            with part.open("ab") as file:
                async for piece in pieces:
                    if file.tell() + len(piece) > total:
                        part.unlink()
                        raise WrongFile(f"it was to have {total} bytes, and more came: it was thrown away")
                    file.write(piece)
            if part.stat().st_size == total:
                await asyncio.to_thread(_complete, digest, part, whole)
        finally:
            self._taking.discard(part)
            if not part.exists():  # whole, or thrown away
                self._announced.pop(part, None)
        return self.find(digest)

    def must_have(self, params: Mapping[str, Any]) -> None:
        """NotFound unless every file that these params name is here, whole."""
        for digest, name in _named(params).values():
            if not self.find(digest).complete:
                raise NotFound(f"the file {name!r} was not uploaded, or it is gone: PUT /files/{digest}")

    def hand_over(self, params: Mapping[str, Any], folder: Path, job: Job) -> dict[str, Any]:
        """The params as that job gets them, with its files in the run's folder. OSError: one is gone."""
        seen = Path(inside.FOLDER) if isinstance(job, ImageJob) else folder
        paths = {}
        for param, (digest, name) in _named(params).items():
            place = folder / inside.UPLOADS / digest / name
            for way in (folder / inside.UPLOADS, place.parent):
                way.mkdir(parents=True, exist_ok=True)
                way.chmod(0o711)  # for the user whose the job is, whatever our umask
            place.unlink(missing_ok=True)
            place.hardlink_to(self._places(digest)[0])
            paths[param] = str(seen / place.relative_to(folder))
        return {**params, **paths}

    def done(self, folder: Path, *, keep: bool) -> None:
        """The run of that folder needs its files no more; `keep`: another attempt may."""
        brought = folder / inside.UPLOADS
        for digest in brought.iterdir() if brought.exists() else ():
            if _DIGEST.fullmatch(digest.name):  # a job that is our own user may have put others there
                file = self._places(digest.name)[0]
                if not keep:
                    file.unlink(missing_ok=True)
                elif file.exists():
                    file.touch()  # its hour begins anew
        shutil.rmtree(brought, ignore_errors=True)

    def prune(self) -> None:
        """Throw away what no run has asked for by now, whole or not."""
        for file in self._folder.iterdir() if self._folder.exists() else ():
            if file not in self._taking and _touched(file) < time.time() - policy.UPLOAD_SECONDS:
                self._drop(file)

    def _places(self, digest: str) -> tuple[Path, Path]:
        if not _DIGEST.fullmatch(digest):
            raise BadRequest("a file is known by its SHA-256: 64 hexadecimal digits in lower case")
        return self._folder / digest, self._folder / f"{digest}{_PART}"

    def _make_room(self, total: int, part: Path) -> None:
        """The oldest of the others go, but none that is on its way, and none if that is not enough. PartOnItsWay,
        TooLarge.
        """
        if total > self._bytes_max:
            raise TooLarge(f"a file may be {self._bytes_max} bytes at most")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        self.prune()
        others = set(self._folder.iterdir()) - {part}
        growing = {file for file in others if self._grows(file)}
        resting = sorted(others - growing, key=_touched)
        promised = sum(self._promised(file) for file in growing) + total
        to_come = promised - sum(map(_size, growing)) - _size(part)

        def fits() -> bool:
            return promised + sum(map(_size, resting)) <= self._bytes_max and to_come <= _room(self._folder)

        if promised <= self._bytes_max and to_come <= _room(self._folder) + sum(map(_freed, resting)):
            while resting and not fits():
                self._drop(resting.pop(0))
            if fits():
                return
        if growing:
            raise PartOnItsWay("other files are on their way, and there is no room for this one beside them")
        raise TooLarge("there is no room for it on the disk")

    def _grows(self, file: Path) -> bool:
        """Whether a caller is at it: sends it just now, or did a moment ago and is between two parts."""
        if file in self._taking:
            return True
        return file.suffix == _PART and _touched(file) > time.time() - policy.UPLOAD_PAUSE_SECONDS

    def _promised(self, file: Path) -> int:
        """Bytes."""
        return max(self._announced.get(file, 0), _size(file))

    def _drop(self, file: Path) -> None:
        self._announced.pop(file, None)
        file.unlink(missing_ok=True)


def _size(file: Path) -> int:
    """Bytes; 0 if it is not there, for a part may become the whole while we look."""
    with suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


def _freed(file: Path) -> int:
    """Bytes that the disk has more without it: a run that was handed it keeps them."""
    with suppress(FileNotFoundError):
        seen = file.stat()
        return seen.st_size if seen.st_nlink == 1 else 0
    return 0


def _touched(file: Path) -> float:
    """Unix seconds; long ago if it is not there."""
    with suppress(FileNotFoundError):
        return file.stat().st_mtime
    return 0


def _room(folder: Path) -> float:
    """Bytes that callers' files may still take on that disk."""
    disk = shutil.disk_usage(folder)
    return disk.free - policy.RESERVE_BYTES if disk.total else math.inf  # a tmpfs without a limit tells 0 for both


def _named(params: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Digest and name of each file that a param names, by param."""
    return dict(_references(params))


def _references(params: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    for param, value in params.items():
        if isinstance(value, str) and value.startswith(f"{UPLOAD_SCHEME}:"):
            found = _NAMED.fullmatch(value)
            if not found or found["name"] in {".", ".."} or len(found["name"].encode("utf-8", "replace")) > 255:  # noqa: PLR2004 - file systems' own limit
                raise BadRequest(f"param {param!r} is not {UPLOAD_SCHEME}:SHA256/NAME")
            yield param, (found["digest"], found["name"])


def _complete(digest: str, part: Path, whole: Path) -> None:
    with part.open("rb") as file:
        seen = hashlib.file_digest(file, "sha256").hexdigest()
    if seen != digest:
        part.unlink()
        raise WrongFile("what came has another SHA-256: it was thrown away")
    part.chmod(0o644)  # for the user whose the job is; strangers get no further than our folder
    part.replace(whole)
