"""One request goes wrong, at each verb that changes the cloud: the run is made all the same, and all of it undone."""

from dataclasses import replace
from pathlib import Path

import pytest

from gcp_emulator.knobs import Knobs
from orchestrator.policy import Patience, seconds
from tests.journeys.endings import ended
from tests.journeys.lab import IMPATIENT, MUTATIONS, Lab, a_lab

ON_THE_WAY_DOWN = ("instances.stop", "instances.deleteAccessConfig")
HASTY = replace(IMPATIENT, request=seconds(1), start=seconds(3))  # that answer late, or never, are not waited for long


@pytest.mark.parametrize("verb", MUTATIONS)
@pytest.mark.parametrize("fault", ["lose_request", "lose_reply"])
async def test_what_gets_lost_is_asked_for_again(lab: Lab, verb: str, fault: str):
    await lab.inject(on=verb, **{fault: {}})
    await ended(lab, await lab.run("main:run"), 0)


@pytest.mark.parametrize("verb", MUTATIONS)
@pytest.mark.parametrize("effect", ["at_once", "at_the_end"])
async def test_an_answer_that_comes_after_we_have_gone_changes_nothing(lab: Lab, verb: str, effect: str):
    await lab.inject(on=verb, late={"seconds": 1.5, "effect": effect})
    await ended(lab, await lab.run("main:run", policy=HASTY), 0)


@pytest.mark.parametrize("verb", MUTATIONS)
async def test_an_operation_that_did_nothing_is_seen_through(lab: Lab, verb: str):
    await lab.inject(on=verb, operation_without_effect={})
    await ended(lab, await lab.run("main:run"), 0)


@pytest.mark.parametrize("verb", MUTATIONS)
async def test_an_operation_that_fails_inside_google_is_begun_anew(lab: Lab, verb: str):
    await lab.inject(on=verb, operation_error={"code": "INTERNAL_ERROR"})
    await ended(lab, await lab.run("main:run"), 0)


@pytest.mark.parametrize("verb", ["zoneOperations.wait", "instances.get", "addresses.get"])
@pytest.mark.parametrize("fault", ["lose_request", "lose_reply"])
async def test_a_look_that_gets_lost_is_taken_again(lab: Lab, verb: str, fault: str):
    await lab.inject(on=verb, times=2, **{fault: {}})
    await ended(lab, await lab.run("main:run"), 0)


async def test_a_rate_limit_that_outlasts_our_patience_is_exit_3(lab: Lab):
    """It refills at the next full minute, two seconds from now at the earliest."""
    await lab.inject(on="instances.start", rate_limit={})
    policy = replace(IMPATIENT, cloud_calls=Patience(6, seconds(1.5), seconds(0.02), seconds(0.2)))
    receipt = await lab.run("main:run", policy=policy)
    await ended(lab, receipt, 3)
    assert "too many requests" in receipt.detail


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_other_writers_of_the_metadata_are_merged_with(lab: Lab, moment: str):
    """In the reply, and, between the request and its operation's end, in the operation alone."""
    await lab.inject(on="instances.setMetadata", times=3, moment=moment, write_metadata={"key": "ssh-keys"})
    await ended(lab, await lab.run("main:run"), 0)
    assert "ssh-keys" in {item["key"] for item in (await lab.vm())["metadata"]["items"]}


@pytest.mark.parametrize("verb", ["instances.setScheduling", "instances.addAccessConfig", "instances.start"])
async def test_a_lease_value_that_is_wiped_off_on_the_way_up_is_still_ours(lab: Lab, verb: str):
    await lab.inject(on=verb, moment="after", write_metadata={"key": "mayfly-lease", "value": None})
    await ended(lab, await lab.run("main:run"), 0)


@pytest.mark.parametrize("skip", range(6))
async def test_a_read_that_lags_behind_decides_nothing_for_good(lab: Lab, skip: int):
    await lab.inject(on="instances.get", skip=skip, stale={"seconds": 3600})
    await ended(lab, await lab.run("main:run"), 0)


@pytest.mark.parametrize("verb", MUTATIONS)
@pytest.mark.parametrize("effect", [True, False])
async def test_an_operation_that_never_ends_is_not_waited_for_for_ever(tmp_path: Path, verb: str, effect: bool):
    """Going up we give up; coming down a look tells what it came to."""
    async with a_lab(tmp_path, knobs=Knobs(wait_seconds=0.2)) as lab:
        await lab.inject(on=verb, operation_never_ends={"effect": effect})
        policy = replace(HASTY, start=seconds(1), stop=seconds(1), cloud_calls=replace(HASTY.cloud_calls, tries=2))
        receipt = await lab.run("main:run", policy=policy)
        await ended(lab, receipt, 0 if verb in ON_THE_WAY_DOWN else 3)
        await lab.all_is_well()
