"""Files that callers bring for a run: sent in parts, known by their SHA-256, named in the run's params.

A caller that lost its connection asks how much is here and goes on from there. `mayfly-upload:SHA256/NAME` as the value
of a param becomes the path of that file in the run's own folder, which goes when the run is over.
"""

import asyncio
import hashlib
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from vm_agent import policy
from vm_agent.containers import inside
from vm_agent.problems import BadOffset, BadRequest, Busy, NotFound, TooLarge, WrongFile
from vm_agent.protocol import UPLOAD_SCHEME, ImageJob, Job, Upload

_DIGEST = re.compile("[0-9a-f]{64}")
_NAMED = re.compile(rf"{UPLOAD_SCHEME}:(?P<digest>[0-9a-f]{{64}})/(?P<name>[^/\0]{{1,200}})")


class Uploads:
    """A folder of them: DIGEST when it is whole, DIGEST.part before. No more bytes in all than `bytes_max`."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._growing: set[Path] = set()

    def find(self, digest: str) -> Upload:
        """How much of it is here."""
        whole, part = self._places(digest)
        if whole.exists():
            return Upload(sha256=digest, size=whole.stat().st_size, complete=True)
        return Upload(sha256=digest, size=part.stat().st_size if part.exists() else 0, complete=False)

    async def append(self, digest: str, *, total: int, offset: int, pieces: AsyncIterator[bytes]) -> Upload:
        """Add a part of a file of `total` bytes. BadOffset, Busy, TooLarge, WrongFile."""
        here = self.find(digest)
        whole, part = self._places(digest)
        if here.complete:
            return here
        if part in self._growing:
            raise Busy("another part of this file is on its way")
        if here.size > total:  # somebody began it with a wrong size
            part.unlink()
            here = self.find(digest)
        if offset != here.size:
            raise BadOffset(f"{here.size} bytes of this file are here")
        self._make_room(total, part)
        self._growing.add(part)
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
            self._growing.discard(part)
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
            if not keep and _DIGEST.fullmatch(digest.name):  # a job that is our own user may have put others there
                self._places(digest.name)[0].unlink(missing_ok=True)
        shutil.rmtree(brought, ignore_errors=True)

    def _places(self, digest: str) -> tuple[Path, Path]:
        if not _DIGEST.fullmatch(digest):
            raise BadRequest("a file is known by its SHA-256: 64 hexadecimal digits in lower case")
        return self._folder / digest, self._folder / f"{digest}.part"

    def _make_room(self, total: int, part: Path) -> None:
        """The oldest of the others go: the file that is wanted now comes first."""
        if total > self._bytes_max:
            raise TooLarge(f"a file may be {self._bytes_max} bytes at most")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        others = sorted(set(self._folder.iterdir()) - {part} - self._growing, key=lambda file: file.stat().st_mtime)
        held = sum(file.stat().st_size for file in (*others, *self._growing))
        for file in others:
            if held + total > self._bytes_max or file.stat().st_mtime < time.time() - policy.UPLOAD_SECONDS:
                held -= file.stat().st_size
                file.unlink()
        if held + total > self._bytes_max:
            raise Busy("other files are on their way, and there is no room for this one beside them")


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
