"""What the agent knows of its machine: metadata, GPUs, settings."""

import asyncio
import ctypes
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from vm_agent import gpu, policy
from vm_agent.auth import ApiKeys, Caller, NotProven
from vm_agent.door import Door
from vm_agent.gpu import ChildProbe, NoGpu
from vm_agent.identity import Identity, Metadata, NoMetadata, boot_id, find_metadata
from vm_agent.protocol import CommandJob, FunctionJob, ImageJob, Mode
from vm_agent.settings import BadSetting, from_environment

WITH_A_KEY = {"MAYFLY_AUTH": "api-key", "MAYFLY_API_KEY": "k"}


@asynccontextmanager
async def metadata_server(answer: Callable[[str], bytes]) -> AsyncIterator[str]:
    """Answers each request line as the test says."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert "Metadata-Flavor: Google" in head
        writer.write(answer(head.split()[1]))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


async def test_the_machine_reads_who_it_is() -> None:
    values = {
        "/computeMetadata/v1/instance/id": b"123",
        "/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip": b"",
        "/computeMetadata/v1/instance/attributes/mayfly-lease": b'{"epoch": 4}',
    }
    async with metadata_server(lambda path: b"HTTP/1.1 200 OK\r\n\r\n" + values[path]) as host:
        machine = Identity(Metadata(host), "boot")
        assert await machine.instance_id() == "123"
        assert await machine.egress_ip() is None
        assert await Metadata(host).lease() == '{"epoch": 4}'


async def test_what_the_metadata_server_does_not_have_is_none_and_what_it_cannot_say_is_an_error() -> None:
    async with metadata_server(lambda _: b"HTTP/1.1 404 Not Found\r\n\r\nno") as host:
        assert await Metadata(host).lease() is None
    for answer in (b"HTTP/1.1 503 Busy\r\n\r\n", b"what?", b""):
        async with metadata_server(lambda _, answer=answer: answer) as host:  # type: ignore[misc]
            with pytest.raises(OSError, match="metadata server"):
                await Metadata(host).lease()
            assert await Identity(Metadata(host), "").instance_id() is None


async def test_a_machine_without_a_metadata_server_is_no_vm() -> None:
    assert isinstance(await find_metadata("127.0.0.1:1"), NoMetadata)


def test_the_boot_id_is_the_kernels(tmp_path: Path) -> None:
    assert boot_id(tmp_path) == ""
    (tmp_path / "proc/sys/kernel/random").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/random/boot_id").write_text("abc\n")
    assert boot_id(tmp_path) == "abc"


async def test_gpus_are_told_as_the_child_found_them() -> None:
    answer = '{"gpus": [{"name": "NVIDIA L4"}]}'
    assert await ChildProbe(("echo", answer)).look() == [{"name": "NVIDIA L4"}]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("echo", '{"problem": "the driver is asleep"}'), "the driver is asleep"),
        (("false",), "ended with exit code 1"),
        (("sleep", "3600"), "does not answer"),
    ],
)
async def test_a_gpu_that_does_not_answer_is_no_gpu(
    command: tuple[str, ...], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "GPU_PROBE_SECONDS", 0.5)
    with pytest.raises(NoGpu, match=reason):
        await ChildProbe(command).look()


async def test_the_real_probe_answers_on_any_machine() -> None:
    found: object
    try:
        found = await ChildProbe().look()
    except NoGpu as reason:
        found = "driver" in str(reason)
    assert found


def test_incident_14_a_gpu_that_cannot_allocate_is_said_not_to_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class DeadGpu:
        """NVML still answers for it, but its driver cannot initialise (an Xid error, a driver being updated)."""

        def __init__(self, _: str) -> None:
            self.cuInit = lambda _: 999

    monkeypatch.setattr(ctypes, "CDLL", DeadGpu)
    with pytest.raises(NoGpu, match="cuInit answered with CUDA error 999"):
        gpu._allocate(0)


def test_the_default_jobs_are_the_originals() -> None:
    settings = from_environment(WITH_A_KEY)
    assert settings.jobs == {mode: FunctionJob(function=f"main:{mode}") for mode in Mode}
    assert (settings.port, settings.state, settings.app) == (8000, Path("/var/lib/mayfly"), Path("/opt/mayfly/src"))


@pytest.mark.parametrize(
    ("spec", "job"),
    [
        ("jobs.trade:go", FunctionJob(function="jobs.trade:go")),
        ("python 'my script.py' -v", CommandJob(command=["python", "my script.py", "-v"])),
        ("image:box", ImageJob(image="box")),
        (
            "image:eu.gcr.io/p/i:v1 train 'all of it'",
            ImageJob(image="eu.gcr.io/p/i:v1", arguments=["train", "all of it"]),
        ),
    ],
)
def test_a_default_job_serves_both_modes(spec: str, job: object) -> None:
    assert from_environment({**WITH_A_KEY, "MAYFLY_JOB": spec}).jobs == {Mode.RUN: job, Mode.TEST: job}


@pytest.mark.parametrize(
    "wrong",
    [
        {"MAYFLY_AUTH": "none"},
        {"MAYFLY_API_KEY": " \n "},
        {"MAYFLY_AUTH": "id-token"},
        {"MAYFLY_AUTH": "id-token", "MAYFLY_CALLERS": " , "},
        {"MAYFLY_AUTH": "id-token", "MAYFLY_CALLERS": "everybody"},
        {"MAYFLY_AUTH": "both"},
        {"MAYFLY_AUTH": "both", "MAYFLY_CALLERS": "a@b.c", "MAYFLY_API_KEY": ""},
        {"MAYFLY_JOB": "un'closed"},
        {"MAYFLY_JOB": "image:"},
        {"MAYFLY_CONTAINER_MEMORY": "much"},
        {"AGENT_PORT": "70000"},
        {"MAYFLY_STOP_GRACE_SECONDS": "-1"},
    ],
)
def test_a_wrong_setting_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(BadSetting):
        from_environment({**WITH_A_KEY, **wrong})


def test_an_emulated_machine_keeps_to_its_folder(tmp_path: Path) -> None:
    settings = from_environment({**WITH_A_KEY, "MAYFLY_ROOT": str(tmp_path)})
    assert settings.emulated
    assert settings.state.is_relative_to(tmp_path)
    assert settings.app.is_relative_to(tmp_path)


def test_without_a_word_on_it_callers_show_tokens() -> None:
    settings = from_environment({"MAYFLY_CALLERS": "a@x.org, b@x.org\tc@x.org", "MAYFLY_API_KEY": "left over"})
    assert settings.callers == {"a@x.org", "b@x.org", "c@x.org"}
    assert settings.api_keys == ()
    assert settings.certs_url == "https://www.googleapis.com/oauth2/v3/certs"


def test_both_ways_may_be_open_and_each_key_has_its_line() -> None:
    settings = from_environment(
        {"MAYFLY_AUTH": "both", "MAYFLY_CALLERS": "a@x.org", "MAYFLY_API_KEY": "new one\r\n\n old "}
    )
    assert (settings.callers, settings.api_keys) == ({"a@x.org"}, ("new one", "old"))
    assert from_environment({**WITH_A_KEY, "MAYFLY_CALLERS": "a@x.org"}).callers is None


async def test_only_the_right_key_opens() -> None:
    key = ApiKeys(["open sesame"])
    assert await key.check({"X-API-Key": "open sesame"}) == Caller("API key 1")
    for wrong in ("", "open", "open sesame ", "öpen"):
        with pytest.raises(NotProven):
            await key.check({"X-API-Key": wrong})


def test_there_is_no_agent_without_a_way_to_authenticate() -> None:
    for keys in ([], [" "], ["right", ""]):
        with pytest.raises(ValueError, match="everybody"):
            ApiKeys(keys)
    with pytest.raises(ValueError, match="without a way to authenticate"):
        Door(None, credentials=[], attempts=None, fence=None, heard=None)  # type: ignore[arg-type]
