"""A run in a container, from its lease to the proof that the VM is off."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.run import Outcome
from tests.engines import TestEngine
from tests.journeys.lab import Lab, a_lab, a_world, starts_the_agent
from vm_agent.protocol import ImageJob


@pytest.fixture
async def lab(tmp_path: Path, engine: TestEngine) -> AsyncIterator[Lab]:
    """A VM with a real Docker Engine."""
    settings = {"DOCKER_HOST": engine.url, "MAYFLY_CONTAINER_PULL": "never", "MAYFLY_CONTAINER_NETWORK": "off"}
    world = a_world(starts_the_agent(**settings))
    async with a_lab(tmp_path / "disks", world, readable=[engine.folder]) as lab:
        yield lab
        await lab.all_is_well()


def job(text: str) -> ImageJob:
    return ImageJob(image="box:1", arguments=["/bin/sh", "-c", text])


async def test_it_succeeds_and_the_receipt_names_the_very_image(lab: Lab, engine: TestEngine, tmp_path: Path):
    work = job("echo from inside; echo kept >$MAYFLY_ARTIFACTS/file; cp $MAYFLY_PARAMS $MAYFLY_RESULT")
    receipt = await lab.run(work, params={"coin": "BTC"}, key="monday", out=tmp_path / "out")
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.SUCCEEDED, 0, "confirmed"), receipt.detail
    assert receipt.result == {"coin": "BTC"}
    assert receipt.job.startswith(f"image:{engine.api.inspect_image('box:1')['Id']} /bin/sh")
    assert "from inside\n" in lab.output
    (kept,) = (tmp_path / "out").rglob("file")
    assert kept.read_text() == "kept\n"
    again = await lab.run(work, params={"coin": "BTC"}, key="monday")
    assert (again.answered_from_memory, again.result) == (True, {"coin": "BTC"})


async def test_one_past_its_deadline_is_exit_8(lab: Lab):
    receipt = await lab.run(job("sleep 600"), timeout="3s")
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.TIMED_OUT, 8, "confirmed")


async def test_one_that_fails_is_exit_1_and_says_why(lab: Lab):
    receipt = await lab.run(ImageJob(image="nowhere:1"))
    assert (receipt.outcome, receipt.exit_code) == (Outcome.FAILED, 1)
    assert "the image nowhere:1 is not on this VM" in receipt.detail
