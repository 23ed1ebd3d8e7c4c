"""What a container sees and may do, as the engine is told it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vm_agent.containers import inside, policy
from vm_agent.containers.errors import NotRun
from vm_agent.containers.leftovers import COOKIE, HOME_LABEL, RUN_LABEL
from vm_agent.containers.terms import Terms

TOLD = "told"  # the folder, in the run's own, where the container leaves its result and its progress

_PATHS = {
    "MAYFLY_PARAMS": f"{inside.FOLDER}/params.json",
    "MAYFLY_ARTIFACTS": f"{inside.FOLDER}/artifacts",
    "MAYFLY_PROGRESS": f"{inside.FOLDER}/{TOLD}/progress.json",
    "MAYFLY_RESULT": f"{inside.FOLDER}/{TOLD}/result.json",
}


def make_room(folder: Path) -> None:
    """Give the container's user what it may write, and let it read the params."""
    (folder / TOLD).mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        for mine in ("params.json", "artifacts", TOLD):
            os.chown(folder / mine, policy.USER, policy.USER)


def settings(order: Mapping[str, Any], folder: Path, image: str, terms: Terms) -> dict[str, Any]:
    """Who it is, and what it runs."""
    uid, gid = (policy.USER, policy.USER) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    return {
        "image": image,
        "command": order["container"]["arguments"] or None,  # none: the image's own CMD
        "user": f"{uid}:{gid}",
        "environment": {
            "HOME": "/tmp",  # noqa: S108 - the container's, the one place where it may write what nobody keeps
            **_passed(terms),
            **order["environment"],
            **_PATHS,
            COOKIE: order["run_id"],
        },
        "labels": {
            RUN_LABEL: order["run_id"],
            "mayfly.boot": order["container"]["boot_id"],
            HOME_LABEL: str(folder.parent),
        },
        "stop_signal": "SIGTERM",
    }


def limits(folder: Path, network: str, terms: Terms) -> dict[str, Any]:
    """What it may use, and what it is kept from: the engine's HostConfig."""
    memory = memory_limit(terms)
    return {
        "mounts": [
            _mount(folder / "params.json", read_only=True),
            _mount(folder / "artifacts"),
            _mount(folder / TOLD),
            *([_mount(brought, read_only=True)] if (brought := folder / inside.UPLOADS).is_dir() else []),
        ],
        "network_mode": network,
        "read_only": True,
        "tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={memory // 2}"},  # noqa: S108 - its own; counts as memory
        "shm_size": memory // 2,  # data loaders share batches there; the engine's default is 64 MiB
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "init": True,  # reaps orphans, and lets SIGTERM end a program that has no handler for it
        "mem_limit": memory,
        "memswap_limit": memory,  # no swap on top
        "nano_cpus": round(terms.cpus * 1e9) if terms.cpus else None,
        "cpu_shares": policy.CPU_SHARES,
        "pids_limit": terms.pids,
        "oom_score_adj": policy.OOM_SCORE,
        "device_requests": [{"count": -1, "capabilities": [["gpu"]]}] if _gpus(terms) else None,
        "log_config": {"type": "none"},  # the run's log has it all; a second copy would only fill the disk
    }


def memory_limit(terms: Terms) -> int:
    """Bytes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return terms.memory_bytes or max(total - policy.MEMORY_SPARED_BYTES, total // 2)


def _gpus(terms: Terms) -> bool:
    """Whether it gets all GPUs. The driver makes this node when it is loaded."""
    return terms.gpu == "all" or (terms.gpu == "auto" and Path("/dev/nvidiactl").exists())


def _passed(terms: Terms) -> dict[str, str]:
    if missing := [name for name in terms.environment if name not in os.environ]:
        raise NotRun(
            f"MAYFLY_CONTAINER_ENV names {missing[0]}, which the agent does not have: is it in mayfly-secrets?"
        )
    return {name: os.environ[name] for name in terms.environment}


def _mount(path: Path, *, read_only: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(path), "Target": f"{inside.FOLDER}/{path.name}", "ReadOnly": read_only}
