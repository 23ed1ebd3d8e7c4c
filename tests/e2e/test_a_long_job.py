"""The script that we replace cut every run off after 30 seconds, and stopped the VM half way through it."""

import os
from pathlib import Path

import pytest

from orchestrator.policy import Policy
from tests.journeys.lab import a_lab

SLOW = pytest.mark.skipif(
    os.environ.get("MAYFLY_SLOW") != "1", reason="takes five minutes; to run it: MAYFLY_SLOW=1 make test"
)


@SLOW
async def test_incident_23_a_job_of_five_minutes_is_followed_to_its_end(tmp_path: Path):
    """In real time and with the numbers of production: long polls, lease renewals and progress included."""
    async with a_lab(tmp_path) as lab:
        receipt = await lab.run("main:five_minutes", timeout="10m", policy=Policy())
        assert (receipt.outcome, receipt.result) == ("succeeded", "five minutes later")
        job = next(phase for phase in receipt.phases if phase.name == "job")
        assert job.seconds >= 300
        renewals = len(lab.requests("instances.setMetadata")) - 4
        assert renewals >= 4, "the lease of three minutes was kept"
        await lab.all_is_well()
