"""How the containers of Cloud Run's tasks are run here: as processes of this machine, or by its Docker."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from gcp_emulator.wire import StartTask

# What the docker command itself needs of this machine.
DOCKER_NEEDS = (
    *("PATH", "HOME", "XDG_RUNTIME_DIR"),
    *("DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"),
)


@dataclass(frozen=True, slots=True)
class Launch:
    """A program to start, its environment, and what to do when it is gone."""

    program: Sequence[str]
    environment: Mapping[str, str]
    afterwards: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Processes:
    """Whatever image a job names, this program is in it: the orchestrator of this machine's own Python."""

    entry_point: Sequence[str] = (sys.executable, "-m", "mayfly")
    arguments: Sequence[str] = ("run",)  # the image's own, for a job that gives none

    def launch(self, order: StartTask, emulator: Mapping[str, str]) -> Launch:
        """Say how to start it. A command of the job's own takes the place of the entry point, as in a container."""
        path = {"PATH": os.environ.get("PATH", os.defpath)}
        arguments = order.arguments or (() if order.command else self.arguments)
        program = [*(order.command or self.entry_point), *arguments]
        return Launch(program, {**path, **order.environment, **emulator})


@dataclass(frozen=True, slots=True)
class Docker:
    """The image itself, with a file system that cannot be written, on the machine's network."""

    command: Sequence[str] = ("docker",)
    options: Sequence[str] = field(default=("--network", "host", "--read-only", "--tmpfs", "/tmp"))  # noqa: S108

    def launch(self, order: StartTask, emulator: Mapping[str, str]) -> Launch:
        """Say how to start it. Values are given to docker in its environment, so that no list of processes has them."""
        inside = {**order.environment, **emulator}
        own = {name: os.environ[name] for name in DOCKER_NEEDS if name in os.environ}
        variables = [f"{name}={value}" if name in own else name for name, value in inside.items()]
        name = f"mayfly-{sha256(f'{order.task}/{order.attempt}/{os.getpid()}'.encode()).hexdigest()[:16]}"
        entry = ("--entrypoint", order.command[0]) if order.command else ()
        program = [
            *(*self.command, "run", "--rm", "--name", name, *self.options, *entry),
            *(word for variable in variables for word in ("--env", variable)),
            *(order.image, *order.command[1:], *order.arguments),
        ]
        return Launch(program, {**inside, **own}, (*self.command, "rm", "--force", name))


Containers = Processes | Docker
