"""The insides of Cloud Run's tasks: each attempt is a process, or a container, with a metadata server of its own."""

import asyncio
import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Literal

from gcp_emulator.asgi import app_of
from gcp_emulator.caller import Caller
from gcp_emulator.containers import Containers, Launch
from gcp_emulator.exports import exports
from gcp_emulator.identity import Signer
from gcp_emulator.listener import Listener
from gcp_emulator.loopback import LOCALHOST, listen
from gcp_emulator.wire import (
    KillTask,
    Lost,
    Reply,
    Request,
    StartTask,
    TaskEffect,
    TaskEnded,
    TaskEvent,
    TaskOutput,
    TermTask,
)

KEEPER = Path(__file__).with_name("task_keeper.py")
OUTPUT_BYTES = 1 << 16
Says = Callable[[str, TaskEvent], None]


class Tasks:
    """All attempts that are under way."""

    def __init__(
        self, port: int, containers: Containers, says: Says, signer: Signer, now: Callable[[], datetime]
    ) -> None:
        self._port, self._containers, self._says = port, containers, says
        self._signer, self._now = signer, now
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._running: set[asyncio.Task[None]] = set()

    def carry_out(self, effect: TaskEffect) -> None:
        """Begin it."""
        key = (effect.task, effect.attempt)
        match effect:
            case StartTask():
                attempt = self._attempts[key] = _Attempt(effect)
                running = asyncio.create_task(self._run(key, attempt))
                self._running.add(running)
                running.add_done_callback(self._running.discard)
            case TermTask():
                if key in self._attempts:
                    self._attempts[key].term()
            case KillTask():
                if key in self._attempts:
                    self._attempts[key].kill()

    async def kill_all(self) -> None:
        """Leave no process behind."""
        for attempt in self._attempts.values():
            attempt.kill()
        await asyncio.gather(*self._running)

    async def _run(self, key: tuple[str, int], attempt: "_Attempt") -> None:
        order = attempt.order
        try:
            ended = await self._with_metadata_server(attempt)
        except Exception:  # noqa: BLE001 - one container that cannot be started must not end the emulator
            trace = traceback.format_exc()
            sys.stderr.write(f"emulator: {order.task} attempt {order.attempt} failed\n{trace}")
            ended = TaskEnded(order.attempt, failure=f"The emulator could not start the container: {trace}")
        del self._attempts[key]
        self._says(order.task, ended)

    async def _with_metadata_server(self, attempt: "_Attempt") -> TaskEnded:
        order = attempt.order
        identity = (order.project, order.project_number, order.region, order.service_account)
        caller = Caller(*identity, self._signer)

        async def answer(request: Request) -> Reply | Lost:
            return caller.answer(request, self._now())

        socket = listen(LOCALHOST, 0)
        listener = Listener(socket, app_of(answer))
        try:
            host = f"{LOCALHOST}:{socket.getsockname()[1]}"
            launch = self._containers.launch(order, self._emulator(host))
            with tempfile.TemporaryDirectory(prefix="mayfly-task-") as folder:
                return await attempt.run(launch, folder, lambda said: self._says(order.task, said))
        finally:
            await listener.close()

    def _emulator(self, metadata_host: str) -> dict[str, str]:
        """What points a task's clients at this emulator, and at its own metadata server."""
        ours = {name: value for name, value in exports(self._port).items() if not name.startswith("CLOUDSDK_")}
        return ours | {"GCE_METADATA_HOST": metadata_host, "GCE_METADATA_IP": metadata_host}


class _Attempt:
    """One process, from before it is there until nothing is left of it."""

    def __init__(self, order: StartTask) -> None:
        self.order = order
        self._process: asyncio.subprocess.Process | None = None
        self._killed = False  # before it began, too

    def term(self) -> None:
        if self._process is None:
            self._killed = True
        elif self._process.returncode is None:
            self._process.terminate()

    def kill(self) -> None:
        """Close the keeper's standard input: it kills all."""
        self._killed = True
        if self._process and self._process.stdin:
            self._process.stdin.close()

    async def run(self, launch: Launch, folder: str, says: Callable[[TaskEvent], None]) -> TaskEnded:
        if not self._killed:
            plan = json.dumps({"program": list(launch.program), "afterwards": list(launch.afterwards)})
            pipe = asyncio.subprocess.PIPE
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(KEEPER), plan),
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                cwd=folder,
                env=dict(launch.environment),
            )
        process = self._process
        if process is None:
            return TaskEnded(self.order.attempt, signal=9)
        if self._killed:
            self.kill()
        assert process.stdout  # noqa: S101 - both are pipes
        assert process.stderr  # noqa: S101
        await asyncio.gather(
            self._pass_on("stdout", process.stdout, says), self._pass_on("stderr", process.stderr, says)
        )
        code = await process.wait()
        if code < 0:
            return TaskEnded(self.order.attempt, signal=-code)
        return TaskEnded(self.order.attempt, exit_code=code)

    async def _pass_on(
        self, stream: Literal["stdout", "stderr"], pipe: asyncio.StreamReader, says: Callable[[TaskEvent], None]
    ) -> None:
        while data := await pipe.read(OUTPUT_BYTES):
            says(TaskOutput(self.order.attempt, stream, data))
