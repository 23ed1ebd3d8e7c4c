"""The terms on which containers run: what the owner of the VM allows them, read from the agent's settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vm_agent.containers import policy

ENGINE = "unix:///var/run/docker.sock"

_SIZE = re.compile(r"(\d+)([kmgt]?)(?:i?b)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Terms:
    """One field for each setting; see from_environment for their names."""

    engine: str = ENGINE
    network: bool = True
    metadata: bool = False  # whether containers may speak to the metadata server, which gives out the VM's own tokens
    gpu: str = "auto"  # auto (all, where there are any) | all | none
    pull: str = "always"  # a tag is asked of its registry: always | missing (if it is not here) | never
    memory_bytes: int | None = None  # None: the machine's, less what the agent and the system need
    cpus: float | None = None  # None: all of them
    pids: int = policy.PIDS
    environment: tuple[str, ...] = ()  # names of the agent's variables that containers see, too
    removal_seconds: float = policy.REMOVAL_SECONDS  # no setting of its owner's


def from_environment(environment: Mapping[str, str]) -> Terms:
    """The terms in the agent's environment. ValueError: one of them makes no sense, and which."""
    said = {name: value.strip() for name, value in environment.items() if value.strip()}
    names = tuple(said.get("MAYFLY_CONTAINER_ENV", "").replace(",", " ").split())
    if strange := [name for name in names if not _NAME.fullmatch(name) or name.startswith("MAYFLY_")]:
        raise ValueError(f"MAYFLY_CONTAINER_ENV has {strange[0]!r}, which no variable of yours can be called")
    engine = said.get("DOCKER_HOST", ENGINE)
    if not engine.startswith("unix://"):
        raise ValueError(f"DOCKER_HOST is {engine!r}: containers share folders with the agent, so unix:// only")
    return Terms(
        engine=engine,
        network=_one_of(said, "MAYFLY_CONTAINER_NETWORK", ("on", "off")) == "on",
        metadata=_one_of(said, "MAYFLY_JOB_METADATA", ("deny", "allow")) == "allow",
        gpu=_one_of(said, "MAYFLY_CONTAINER_GPU", ("auto", "all", "none")),
        pull=_one_of(said, "MAYFLY_CONTAINER_PULL", ("always", "missing", "never")),
        memory_bytes=_size(said, "MAYFLY_CONTAINER_MEMORY"),
        cpus=_cpus(said, "MAYFLY_CONTAINER_CPUS"),
        pids=_count(said, "MAYFLY_CONTAINER_PIDS", Terms.pids),
        environment=names,
    )


def _one_of(said: Mapping[str, str], name: str, words: tuple[str, ...]) -> str:
    """The first of them is the default."""
    word = said.get(name, words[0]).lower()
    if word not in words:
        raise ValueError(f"{name} is {said[name]!r}, not {' or '.join(words)}")
    return word


def _size(said: Mapping[str, str], name: str) -> int | None:
    if name not in said:
        return None
    found = _SIZE.fullmatch(said[name])
    size = int(found[1]) << 10 * _POWERS[found[2].lower()] if found else 0
    if size < policy.MEMORY_BYTES_MIN:
        raise ValueError(f"{name} is {said[name]!r}, not a size such as 512m or 8g, of 6m at least")
    return size


def _cpus(said: Mapping[str, str], name: str) -> float | None:
    if name not in said:
        return None
    try:
        cpus = float(said[name])
    except ValueError:
        cpus = 0.0
    if not 0.01 <= cpus <= 4096:  # noqa: PLR2004 - the engine's own least; more than any machine has
        raise ValueError(f"{name} is {said[name]!r}, not a number of CPUs such as 1.5")
    return cpus


def _count(said: Mapping[str, str], name: str, default: int) -> int:
    text = said.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{name} is {text!r}, not a number of processes")
    return int(text)
