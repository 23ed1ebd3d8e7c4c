"""One container from its image to its end."""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from vm_agent.containers import confinement, leftovers
from vm_agent.containers.engine import End, Engine
from vm_agent.containers.images import pinned
from vm_agent.containers.terms import Terms
from vm_agent.containers.wall import walled_network
from vm_agent.containers.words import Words
from vm_agent.job import Context
from vm_agent.jobs import metadata
from vm_agent.runner import write_whole

EXIT_TERMINATED = 143
EXIT_KILLED = 137


def run(folder: Path) -> int:
    """Run the container that FOLDER/order.json asks for; returns its exit code. ContainerProblem."""
    order = json.loads((folder / "order.json").read_bytes())
    terms = Terms(**order["container"]["terms"])
    engine, stopping, words = Engine(terms.engine), Stopping(Engine(terms.engine)), Words(folder)
    stopping.listen()
    leftovers.end_earlier(engine, folder.parent)
    image = _image(engine, order["container"]["image"], terms, folder)
    confinement.make_room(folder)
    settings = confinement.settings(order, folder, image, terms)
    limits = confinement.limits(folder, _network(engine, terms), terms)
    leftovers.promise(folder, leftovers.Note(terms.engine, order["run_id"], terms.removal_seconds))
    with stopping.held:
        container, warnings = engine.create(f"mayfly-{order['run_id']}", settings, limits)
        output = engine.output(container)
        engine.start(container)
        stopping.container = container
    words.listen()
    for warning in warnings:
        _say(f"Docker: {warning}")
    _pass_on(output)
    ended = engine.end(container)
    words.end()
    try:
        if not ended.exit_code:
            words.take_result()
        elif ended.exit_code == EXIT_KILLED or ended.out_of_memory:
            write_whole(folder / "failure.json", {"detail": _why_killed(ended, confinement.memory_limit(terms))})
    finally:
        leftovers.end_at_once(folder, engine, order["run_id"])  # a removal that fails is no matter of how it ended
    return ended.exit_code


class Stopping:
    """What SIGTERM does: before the container runs, the end of this process; afterwards it is the container's."""

    def __init__(self, engine: Engine) -> None:
        self.held = threading.Lock()  # a request of ours is on its way: it is settled first
        self.container: str | None = None
        self._engine = engine  # this thread's own connection

    def listen(self) -> None:
        """From now on. The signal must be blocked."""
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        signal.sigwait({signal.SIGTERM})
        with self.held:
            if self.container is None:
                os._exit(EXIT_TERMINATED)
        self._engine.signal(self.container, "SIGTERM")


def _image(engine: Engine, wanted: str, terms: Terms, folder: Path) -> str:
    telling = Context({}, "", folder / "artifacts", progress_file=folder / "progress.json")

    def say(what: str) -> None:
        telling.progress(None, what)
        _say(what)

    image = pinned(engine, wanted, terms.pull, metadata.token, say)
    write_whole(folder / "image.json", {"image": image})
    _say(f"the image is {image}")
    return image


def _network(engine: Engine, terms: Terms) -> str:
    if not terms.network:
        return "none"
    return "bridge" if terms.metadata else walled_network(engine)


def _pass_on(output: Iterator[bytes]) -> None:
    """Into the run's log. A full disk loses it, and keeps nobody from ending."""
    for chunk in output:
        left = memoryview(chunk)
        with contextlib.suppress(OSError):
            while left:
                left = left[os.write(sys.stdout.fileno(), left) :]


def _why_killed(ended: End, limit: int) -> str:
    """The engine may miss that it was the memory: it hears of the end from one side, of the reason from another."""
    at = f"its memory limit of {limit / (1 << 20):.0f} MiB"
    more = f"(exit code {ended.exit_code}): it may need more, by MAYFLY_CONTAINER_MEMORY or on a larger VM"
    return f"killed at {at} {more}" if ended.out_of_memory else f"killed by SIGKILL, most likely at {at} {more}"


def _say(what: str) -> None:
    print(f"mayfly: {what}", file=sys.stderr, flush=True)  # noqa: T201 - into the run's log
