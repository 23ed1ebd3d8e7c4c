"""Where the agent may make a control group for a run: version 2 if it is there, else version 1, else nowhere."""

import os
import re
from pathlib import Path

_VERSION_1_HIERARCHIES = ("pids", "freezer")  # either holds processes together and limits nothing by itself


def writable_group() -> Path | None:
    """The agent's own control group, if groups can be made in it: whatever ends the agent's ends them too."""
    return next((group for group in _own_groups() if os.access(group, os.W_OK)), None)


def _own_groups() -> list[Path]:
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
        memberships = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    places = dict(filter(None, map(_hierarchy, mounts)))
    groups = {}
    for line in memberships:
        _, controllers, inside = line.split(":", 2)
        for name in controllers.split(","):
            if name in places:
                groups[name] = places[name] / inside.lstrip("/")
    return [groups[name] for name in ("", *_VERSION_1_HIERARCHIES) if name in groups]


def _hierarchy(mount: str) -> tuple[str, Path] | None:
    """What a line of /proc/self/mounts tells: ("" for version 2, or a version 1 controller, and its place)."""
    _, place, kind, options, *_ = mount.split(" ")
    folder = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), place))
    if kind == "cgroup2":
        return "", folder
    controller = next((name for name in _VERSION_1_HIERARCHIES if name in options.split(",")), None)
    return (controller, folder) if kind == "cgroup" and controller else None
