"""Which image a run gets, and what it is told when there is none: a real engine, a real registry with a password."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.agent_at_work import result_of, start
from tests.contract.contained import an_agent_with, log_of, without_dockers_client
from tests.e2e.google import Google
from tests.engines import REPOSITORY, TestEngine, script
from vm_agent.containers.images import parsed

SILENT = """
import socket, time
registry = socket.create_server(("127.0.0.1", 5999))
print("listening", flush=True)
time.sleep(600)
"""


@pytest.fixture
def metadata_host() -> Iterator[str]:
    """Of a metadata server whose token the registry takes."""
    with Google() as google:
        yield google.host


async def test_a_tag_is_asked_of_its_registry_and_runs_by_digest(
    engine: TestEngine, tmp_path: Path, metadata_host: str
) -> None:
    first = engine.push("moving")
    job = script("echo ran", image=f"{REPOSITORY}:moving")
    async with an_agent_with(engine, tmp_path, {"GCE_METADATA_HOST": metadata_host}, pull="always") as client:
        run = await result_of(client, job=job)
        assert (run["state"], run["image"]) == ("SUCCEEDED", f"{REPOSITORY}@{first}"), await log_of(client, run)
        assert f"mayfly: pulling {REPOSITORY}@{first}\n" in await log_of(client, run)

        second = _pushed_with_another_label(engine, "moving")
        run = await result_of(client, job=job)
        assert run["image"] == f"{REPOSITORY}@{second}" != f"{REPOSITORY}@{first}"

        run = await result_of(client, job=script("echo ran", image=f"{REPOSITORY}:moving@{first}"))
        assert (run["state"], run["image"]) == ("SUCCEEDED", f"{REPOSITORY}@{first}")
        assert "pulling" not in await log_of(client, run)


async def test_an_image_that_is_here_needs_no_registry_if_it_may_be_missing_there(
    engine: TestEngine, tmp_path: Path, metadata_host: str
) -> None:
    async with an_agent_with(engine, tmp_path, {"GCE_METADATA_HOST": metadata_host}, pull="missing") as client:
        run = await result_of(client, job=script("echo ran"))
        assert (run["state"], run["image"]) == ("SUCCEEDED", engine.api.inspect_image("box:1")["Id"])
        digest = engine.push("fetched")
        run = await result_of(client, job=script("echo ran", image=f"{REPOSITORY}:fetched"))
        assert (run["state"], run["image"]) == ("SUCCEEDED", f"{REPOSITORY}@{digest}")


async def test_an_image_that_is_nowhere(engine: TestEngine, tmp_path: Path, metadata_host: str) -> None:
    async with an_agent_with(engine, tmp_path, {"GCE_METADATA_HOST": metadata_host}, pull="always") as client:
        for image in (f"{REPOSITORY}:absent", f"{REPOSITORY}@sha256:{'0' * 64}"):
            run = await result_of(client, job=script("echo ran", image=image))
            assert (run["state"], run["image"], run["failure"]["exit_code"]) == ("FAILED", None, 125)
            assert run["failure"]["detail"].startswith(f"the image {image} cannot be had: ")
            assert run["failure"]["detail"].endswith("read it (roles/artifactregistry.reader)?")


async def test_a_registry_that_wants_a_token_where_there_is_none(engine: TestEngine, tmp_path: Path) -> None:
    engine.push("private")
    async with an_agent_with(engine, tmp_path, {"GCE_METADATA_HOST": "127.0.0.1:9"}, pull="always") as client:
        run = await result_of(client, job=script("echo ran", image=f"{REPOSITORY}:private"))
        assert "The metadata server gave no token" in run["failure"]["detail"]


async def test_an_image_that_may_not_be_pulled(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path) as client:
        run = await result_of(client, job=script("echo ran", image="nowhere:1"))
        assert run["failure"]["detail"].startswith("the image nowhere:1 is not on this VM, and MAYFLY_CONTAINER_PULL")


async def test_a_program_that_is_not_in_the_image(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path) as client:
        run = await result_of(client, job={"image": "box:1", "arguments": ["/bin/nothing"]})
        assert run["state"] == "FAILED"
        assert "/bin/nothing" in run["failure"]["detail"] + await log_of(client, run)


async def test_a_gpu_that_the_engine_cannot_give(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path, gpu="all") as client:
        run = await result_of(client, job=script("echo ran"))
        assert run["state"] == "FAILED"
        assert "nvidia-container-toolkit" in run["failure"]["detail"]
        assert "MAYFLY_CONTAINER_GPU=none" in run["failure"]["detail"]


async def test_a_machine_without_an_engine(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path, engine=f"unix://{tmp_path}/nobody") as client:
        run = await result_of(client, job=script("echo ran"))
        assert run["failure"]["detail"].startswith(f"no Docker Engine answers at unix://{tmp_path}/nobody")
        assert "apt-get install docker.io" in run["failure"]["detail"]


async def test_a_registry_that_never_answers_is_left_at_the_deadline(engine: TestEngine, tmp_path: Path) -> None:
    inside = ["nsenter", f"--net=/proc/{engine.machine}/ns/net", sys.executable, "-c", SILENT]
    registry = await asyncio.create_subprocess_exec(*inside, stdout=asyncio.subprocess.PIPE)
    assert registry.stdout
    assert await registry.stdout.readline() == b"listening\n"
    try:
        async with an_agent_with(engine, tmp_path, pull="always") as client:
            run = await result_of(client, job=script("echo ran", image="127.0.0.1:5999/p/i:1"), timeout_seconds=2)
            assert run["state"] == "TIMED_OUT"
    finally:
        registry.kill()
        await registry.wait()


async def test_no_image_is_asked_of_a_link_local_address(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path, pull="always") as client:
        for host in ("169.254.169.254", "169.254.169.254:80", "169.254.43518", "0251.0376.0251.0376"):
            run = await result_of(client, job=script("echo ran", image=f"{host}/p/i:1"))
            assert run["failure"]["detail"].startswith(f"the registry {host} is at a link-local address, 169.254.")


async def test_a_vm_without_the_extra(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path, {"PYTHONPATH": str(without_dockers_client(tmp_path))}) as client:
        run = await result_of(client, job=script("echo ran"))
        assert run["failure"]["detail"].startswith("No module named 'docker': add the extra `containers`")


@pytest.mark.parametrize(
    "image", ["", "UPPER/case", "a b", "-v", "/etc", "x:", "x@sha256:12", "x" * 600, "a//b/../c d"]
)
async def test_what_names_no_image_is_refused(engine: TestEngine, tmp_path: Path, image: str) -> None:
    async with an_agent_with(engine, tmp_path) as client:
        assert (await start(client, job={"image": image})).status_code == 400


@pytest.mark.parametrize(
    ("image", "repository", "tag", "of_google"),
    [
        ("alpine", "alpine", "latest", False),
        ("localhost:5000/a/b", "localhost:5000/a/b", "latest", False),
        ("europe-docker.pkg.dev/p/r/i:v3", "europe-docker.pkg.dev/p/r/i", "v3", True),
        ("eu.gcr.io/p/i", "eu.gcr.io/p/i", "latest", True),
        ("gcr.io.evil.example/p/i", "gcr.io.evil.example/p/i", "latest", False),
        ("evilpkg.dev/p/i", "evilpkg.dev/p/i", "latest", False),
        ("gcr.io:v1", "gcr.io", "v1", False),  # a name at Docker Hub
        ("eu.pkg.dev", "eu.pkg.dev", "latest", False),
        ("example.com/pkg.dev/i", "example.com/pkg.dev/i", "latest", False),
    ],
)
def test_the_vms_token_is_shown_to_googles_registries_alone(
    image: str, repository: str, tag: str, *, of_google: bool
) -> None:
    found = parsed(image)
    assert (found.repository, found.tag, found.digest, found.of_google) == (repository, tag, None, of_google)


def _pushed_with_another_label(engine: TestEngine, tag: str) -> str:
    api = engine.api
    made = api.create_container("box:1", ["/bin/sh"])
    api.commit(made["Id"], "box", "2", conf={"Labels": {"version": "2"}})
    api.remove_container(made["Id"])
    return engine.push(tag, "box:2")
