"""`mayfly` as a process of its own, against a lab's cloud."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from gcp_emulator.exports import demo_exports, exports
from tests.journeys.lab import CHECKOUT, Lab


class Ended:
    """How a `mayfly` process ended, and what it said."""

    def __init__(self, code: int | None, stdout: bytes, stderr: bytes) -> None:
        self.code = code
        self.receipt: dict[str, Any] = json.loads(stdout)
        self.said = stdout.decode() + stderr.decode()
        self.notes = [json.loads(line) for line in stderr.decode().splitlines()]

    @property
    def warnings(self) -> list[str]:
        return [note["message"] for note in self.notes if note["severity"] == "WARNING"]


async def begin(lab: Lab, folder: Path, *arguments: str, **variables: str) -> asyncio.subprocess.Process:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "TIMEOUT": "60s"}
    environment |= exports(lab.emulator.port) | demo_exports() | variables
    pipe = asyncio.subprocess.PIPE
    folder.mkdir(exist_ok=True)  # nobody's .env or mayfly.toml
    command = (sys.executable, "-m", "mayfly", *arguments)
    return await asyncio.create_subprocess_exec(*command, env=environment, cwd=folder, stdout=pipe, stderr=pipe)


async def mayfly(lab: Lab, folder: Path, *arguments: str, **variables: str) -> Ended:
    process = await begin(lab, folder, *arguments, **variables)
    stdout, stderr = await asyncio.wait_for(process.communicate(), timeout=120)
    return Ended(process.returncode, stdout, stderr)


async def heard(process: asyncio.subprocess.Process, message: str) -> None:
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while message not in json.loads(await process.stderr.readline())["message"]:
            pass
