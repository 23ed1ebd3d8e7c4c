"""Jobs as somebody else than the agent: what is the agent's (its key, its ledger, other runs) is out of their reach.

A job of its own user has its own word (result, progress, failure) in a folder of its own inside the run's folder: what
we write or read there as root must not be a link that it made.
Standard library only: the keeper of each run imports this.
"""

import contextlib
import ctypes
import grp
import os
import pwd
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OWN = "own"
_PR_SET_NO_NEW_PRIVS = 38
_UMASK = 0o022  # the agent's own lets nobody in

# Whose members are root whenever they like: an engine starts what it is told as root, a disk is read past all modes.
_AS_GOOD_AS_ROOT = frozenset({"disk", "docker", "incus", "incus-admin", "libvirt", "lxd", "microk8s"})


class NoSuchUser(Exception):
    """Jobs cannot be that user's."""


@dataclass(frozen=True)
class JobUser:
    """A user of this machine that only jobs are."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]  # all of them: those of a GPU's device files, say
    home: str

    @property
    def environment(self) -> Mapping[str, str]:
        """What changes for a job that is this user's. The app folder is not its own: it caches its bytecode at home."""
        cache = f"{self.home}/.cache"
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "PYTHONPYCACHEPREFIX": f"{cache}/python"}

    def give_a_folder(self, folder: Path) -> None:
        """What is to be its own in the folder of a run. The log is, too: who opens /dev/stdout opens it anew."""
        folder.chmod(0o711)
        (folder / _OWN).mkdir(mode=0o700)
        for own in (folder / _OWN, folder / "artifacts", folder / "log"):
            os.chown(own, self.uid, self.gid)

    def let_read(self, folder: Path) -> None:
        """What it was asked. It changes nothing there."""
        for asked in ("params.json", "order.json"):
            os.chown(folder / asked, -1, self.gid)
            (folder / asked).chmod(0o640)


def job_user(name: str) -> JobUser | None:
    """The user of that name; None if that is who we are. Raises NoSuchUser."""
    if not name:
        return None
    try:
        known = pwd.getpwnam(name)
    except KeyError as problem:
        raise NoSuchUser(
            f"there is no user {name!r} here: make one with `useradd --system --create-home {name}`"
        ) from problem
    if known.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise NoSuchUser(f"only root can run jobs as {name!r}, and the agent is not root")
    if known.pw_uid == 0:
        raise NoSuchUser(f"{name!r} is root by another name")
    groups = os.getgrouplist(name, known.pw_gid)
    if found := sorted(_AS_GOOD_AS_ROOT & {_name_of(group) for group in groups}):
        raise NoSuchUser(
            f"{name!r} is in the group {found[0]}, whose members can be root: `gpasswd --delete {name} {found[0]}`, or "
            "take a user that only jobs are"
        )
    return JobUser(name, known.pw_uid, known.pw_gid, tuple(groups), known.pw_dir)


def _name_of(group: int) -> str:
    with contextlib.suppress(KeyError):
        return grp.getgrgid(group).gr_name
    return ""


def become(user: Mapping[str, Any]) -> None:
    """Be that user for good. Raises OSError: then the job must not begin."""
    os.setgroups(user["groups"])
    os.setgid(user["gid"])
    os.setuid(user["uid"])
    os.umask(_UMASK)
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError("prctl(PR_SET_NO_NEW_PRIVS) failed")


def let_pass(state: Path) -> None:
    """Jobs find their own folders below the agent's; they list nothing there, and open nothing that is not theirs."""
    os.umask(0o077)
    (state / "runs").mkdir(exist_ok=True)
    for folder in (state, state / "runs"):
        folder.chmod(0o711)
    for file in state.glob("ledger.db*"):
        file.chmod(0o600)


def word_of(folder: Path) -> Path:
    """Where in the folder of a run the job says how it goes and how it ended."""
    own = folder / _OWN
    return own if own.is_dir() else folder
