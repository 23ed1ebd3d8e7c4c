"""What the job in a container says: its progress and its result, brought to where the agent reads them.

The container may leave anything in their places, at any time. Only regular files pass, and a link is never followed: it
would lead to the VM's own files.
"""

import contextlib
import os
import stat
import threading
from pathlib import Path

from vm_agent.containers import policy
from vm_agent.containers.confinement import TOLD
from vm_agent.containers.errors import ContainerProblem


class BadResult(ContainerProblem):
    """The result cannot be taken."""


class Words:
    """The words of the job whose run is in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._over = threading.Event()
        self._heard: tuple[int, int, int] | None = None
        self._listening = threading.Thread(target=self._listen, daemon=True)

    def listen(self) -> None:
        """Pass its progress on from now on."""
        self._listening.start()

    def end(self) -> None:
        """Take its last word on its progress, once nothing can change it any more."""
        self._over.set()
        self._listening.join()
        self._hear()

    def take_result(self) -> None:
        """Take the result of one that succeeded and is gone. BadResult: what it left is no file."""
        result = self._folder / TOLD / "result.json"
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(result.lstat().st_mode):
                raise BadResult("the result cannot be kept: it is not a regular file")
            result.replace(self._folder / "result.json")

    def _listen(self) -> None:
        while not self._over.wait(policy.TICK_SECONDS):
            self._hear()

    def _hear(self) -> None:
        with contextlib.suppress(OSError):
            file = os.open(self._folder / TOLD / "progress.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                seen = os.fstat(file)
                now = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
                if now != self._heard and stat.S_ISREG(seen.st_mode):
                    self._say(os.read(file, policy.PROGRESS_BYTES_MAX))
                    self._heard = now
            finally:
                os.close(file)

    def _say(self, word: bytes) -> None:
        draft = self._folder / "progress.new"
        draft.write_bytes(word)
        draft.replace(self._folder / "progress.json")
