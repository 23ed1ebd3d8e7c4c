"""`mayfly call` through the gateway to an agent in service form: a file goes there, a run works on it, its files come.

Real processes: command line, gateway, agent; between gateway and agent a wire that a test can cut.
"""

import asyncio
import hashlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import httpx
import pytest

from mayfly.client import Client
from orchestrator.errors import BadUsage
from tests.contract.gateway_at_work import PHONE, Gateway, MetadataServer, gateway_process
from tests.journeys.lab import CHECKOUT

AUDIO = b"ID3" + os.urandom(20_000_000)  # more than one part
# Between two tries half a second at first, ten at most: here, a moment.
HASTY = "from mayfly import client; client.PAUSE_SECONDS = (0.02, 0.2); from mayfly.cli import main; main()"
JOB = """
    import hashlib, pathlib, time
    def run(context):
        audio = pathlib.Path(context.params["audio"])
        digest = hashlib.sha256(audio.read_bytes()).hexdigest()
        context.progress(0.5, "half of it")
        while not pathlib.Path(context.params.get("gate", "/")).exists():
            time.sleep(0.05)
        if context.params.get("broken"):
            raise ValueError("no sound in it")
        for ending in ("txt", "srt", "json"):
            (context.artifacts / f"{audio.stem}.{ending}").write_text(f"{ending} of {digest}")
        (context.artifacts / "long.bin").write_bytes(bytes(range(256)) * 80_000)
        return {"language": context.params.get("language"), "files": 3}
"""


@dataclass
class Wire:
    """From the gateway to the service. Each `cuts` is how many bytes of both ways one connection gets."""

    target: int
    port: int = 0
    cuts: list[int] = field(default_factory=list)
    connections: int = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        left = [self.cuts.pop(0) if self.cuts else 1 << 60]
        there, to = await asyncio.open_connection("127.0.0.1", self.target)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while left[0] > 0 and (piece := await source.read(1 << 16)):
                left[0] -= len(piece)
                sink.write(piece)
                await sink.drain()

        pumps = {asyncio.create_task(pump(reader, to)), asyncio.create_task(pump(there, writer))}
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for one in pumps:
            one.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for end in (writer, to):
            end.transport.abort()


@dataclass
class Place:
    """All of it."""

    folder: Path
    gateway: Gateway
    wire: Wire
    service: int

    async def call(self, *words: str, url: str | None = None, **environment: str) -> tuple[int, str, str]:
        """`mayfly call`: exit code, stdout, stderr."""
        process = await self.begin(*words, url=url, **environment)
        async with asyncio.timeout(120):
            out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def begin(self, *words: str, url: str | None = None, **environment: str) -> asyncio.subprocess.Process:
        command = [sys.executable, "-c", HASTY, "call", url or self.gateway.url, "--key-env", "KEY", *words]
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,  # where the files go without --out
            env={**os.environ, "KEY": PHONE, "PYTHONPATH": str(CHECKOUT), **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def runs(self) -> list[dict[str, object]]:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.service}", trust_env=False) as client:
            return list((await client.get("/runs")).json()["runs"])


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/main.py").write_text(dedent(JOB))
    (tmp_path / "talk.mp3").write_bytes(AUDIO)
    async with _service(tmp_path) as service:
        wire = Wire(service)
        server = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
        wire.port = server.sockets[0].getsockname()[1]
        with MetadataServer().serving() as metadata:
            async with server, gateway_process(f"http://127.0.0.1:{wire.port}", metadata.host) as gateway:
                yield Place(tmp_path, gateway, wire, service)


@asynccontextmanager
async def _service(folder: Path) -> AsyncIterator[int]:
    """The agent as Cloud Run starts it: $PORT, K_SERVICE, no metadata server, no key, nowhere to write but /tmp."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    cloud_run = {"MAYFLY_SERVICE": "1", "K_SERVICE": "transcribe", "PORT": str(port), "MAYFLY_APP": str(folder / "app")}
    nowhere = {"GCE_METADATA_HOST": "127.0.0.1:9", "TMPDIR": str(folder), "PYTHONPATH": str(CHECKOUT)}
    environment = {name: value for name, value in os.environ.items() if name not in {"HOME", "USER", "MAYFLY_API_KEY"}}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vm_agent"), env=environment | cloud_run | nowhere, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(60):
            while not await _ready(client, port):
                await asyncio.sleep(0.05)
        yield port
    finally:
        process.terminate()
        async with asyncio.timeout(60):
            await process.wait()


async def _ready(client: httpx.AsyncClient, port: int) -> bool:
    try:
        return (await client.get(f"http://127.0.0.1:{port}/")).status_code == 200
    except httpx.TransportError:
        return False


async def test_a_recording_goes_there_and_its_transcript_comes_back(place: Place) -> None:
    out = place.folder / "out"
    audio = place.folder / "talk.mp3"
    code, told, shown = await place.call("--file", str(audio), "--set", "language=en", "--out", str(out))
    assert code == 0, shown
    receipt = json.loads(told)
    assert (receipt["outcome"], receipt["exit_code"]) == ("succeeded", 0)
    assert receipt["result"] == {"language": "en", "files": 3}
    digest = hashlib.sha256(AUDIO).hexdigest()
    assert (out / "talk.srt").read_text() == f"srt of {digest}"
    assert sorted(path.name for path in out.iterdir()) == ["long.bin", "talk.json", "talk.srt", "talk.txt"]
    assert (out / "long.bin").read_bytes() == bytes(range(256)) * 80_000
    assert "uploaded 16 of 19 MiB" in shown
    assert "succeeded" in shown
    assert PHONE not in told + shown
    assert list(place.folder.glob("mayfly/uploads/*")) == [], "the recording went with the run"


async def test_the_same_call_is_one_run_and_again_is_another(place: Place) -> None:
    words = ("--file", str(place.folder / "talk.mp3"), "--out", str(place.folder))
    first, second = json.loads((await place.call(*words))[1]), json.loads((await place.call(*words))[1])
    assert first["run"] == second["run"]
    third = json.loads((await place.call(*words, "--again"))[1])
    assert third["run"] != first["run"]
    assert len(await place.runs()) == 2


async def test_a_call_goes_on_where_its_connections_broke(place: Place) -> None:
    place.wire.cuts = [300_000, 5_000_000, 18_000_000, 500, 0, 200, 700, 3_000_000]
    code, _, shown = await place.call("--file", str(place.folder / "talk.mp3"), "--out", str(place.folder / "out"))
    assert code == 0, shown
    assert place.wire.cuts == [], "every cut was made"
    assert (place.folder / "out/talk.txt").read_text() == f"txt of {hashlib.sha256(AUDIO).hexdigest()}"
    assert (place.folder / "out/long.bin").read_bytes() == bytes(range(256)) * 80_000
    assert len(await place.runs()) == 1


async def test_a_caller_that_was_killed_follows_the_same_run_when_it_calls_again(place: Place) -> None:
    gate = place.folder / "opened"
    words = ("--file", str(place.folder / "talk.mp3"), "--set", f"gate={gate}", "--out", str(place.folder / "out"))
    for ending, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)):
        caller = await place.begin(*words)
        async with asyncio.timeout(60):
            while not (await place.runs()):
                await asyncio.sleep(0.05)
            await _until_it_follows(caller)
        caller.send_signal(ending)
        assert await caller.wait() == code
    gate.touch()
    code, told, shown = await place.call(*words)
    assert code == 0, shown
    assert [run["id"] for run in await place.runs()] == [json.loads(told)["run"]]


async def _until_it_follows(caller: asyncio.subprocess.Process) -> None:
    assert caller.stderr
    while b"running" not in await caller.stderr.readline():
        pass


async def test_a_run_that_fails_is_exit_1_with_its_own_words(place: Place) -> None:
    code, told, _ = await place.call("--file", str(place.folder / "talk.mp3"), "--set", "broken=true")
    assert (code, json.loads(told)["outcome"]) == (1, "failed")
    assert "no sound in it" in json.loads(told)["detail"]


async def test_what_is_wrong_is_a_sentence_and_its_exit_code(place: Place) -> None:
    audio = str(place.folder / "talk.mp3")
    for words, environment, code, said in (
        (("--file", audio), {"KEY": "wrong-0123456789abcdef"}, 2, "The key is not known there"),
        (("--file", audio), {"KEY": ""}, 2, "that environment variable is not set"),
        (("--file", "/nowhere.mp3"), {}, 2, "/nowhere.mp3 cannot be read"),
        (("--set", "audio"), {}, 2, "write name=value"),
    ):
        told = await place.call(*words, **environment)
        assert (told[0], said in told[2]) == (code, True), told
    told = await place.call("--file", audio, url="http://gateway.example")
    assert (told[0], "readable on the way" in told[2]) == (2, True), told
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    told = await place.call("--file", audio, "--patience", "1", url=closed)
    assert (told[0], "does not answer" in told[2]) == (4, True), told
    assert await place.runs() == []


async def test_a_file_that_shrinks_while_it_is_sent_ends_the_call(place: Place) -> None:
    file = place.folder / "talk.mp3"
    with Client(place.gateway.url, PHONE) as client, pytest.raises(BadUsage, match="became shorter"):
        await asyncio.to_thread(client.upload, file, lambda *_: os.truncate(file, 0))
    assert await place.runs() == []


async def test_a_file_that_another_caller_is_sending_is_waited_for(place: Place) -> None:
    digest, begun, refused = hashlib.sha256(AUDIO).hexdigest(), asyncio.Event(), asyncio.Event()
    loop, tries = asyncio.get_running_loop(), []

    async def slowly() -> AsyncIterator[bytes]:
        yield AUDIO[:1000]
        begun.set()
        await refused.wait()
        yield AUDIO[1000:]

    def tried(here: int, size: int) -> None:
        tries.append(here)
        if len(tries) == 2:  # the first was refused
            loop.call_soon_threadsafe(refused.set)

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{place.service}", trust_env=False, timeout=60) as other:
        put = other.put(f"/files/{digest}", params={"size": len(AUDIO)}, content=slowly())
        sending = asyncio.create_task(put)
        await begun.wait()
        with Client(place.gateway.url, PHONE) as client:
            named = await asyncio.to_thread(client.upload, place.folder / "talk.mp3", tried)
        assert named == f"mayfly-upload:{digest}/talk.mp3"
        assert (await sending).json()["complete"] is True


async def test_another_run_is_exit_6_and_is_left_alone(place: Place) -> None:
    gate = place.folder / "opened"
    first = await place.begin("--file", str(place.folder / "talk.mp3"), "--set", f"gate={gate}")
    async with asyncio.timeout(60):
        while not (await place.runs()):
            await asyncio.sleep(0.05)
    code, _, shown = await place.call("--file", str(place.folder / "talk.mp3"), "--set", "language=de")
    assert (code, "Call again later" in shown) == (6, True), shown
    gate.touch()
    async with asyncio.timeout(60):
        await first.communicate()
    assert first.returncode == 0


async def test_without_a_gateway_it_is_the_same(place: Place) -> None:
    direct = f"http://127.0.0.1:{place.service}"
    code, told, _ = await place.call("--file", str(place.folder / "talk.mp3"), "--out", str(place.folder), url=direct)
    assert (code, json.loads(told)["outcome"]) == (0, "succeeded")
