"""The watch that startup.sh leaves behind, alone on an emulated VM, with the pulse of an agent that is not there."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.google import Google
from tests.guests import AGuest
from vm_agent.clock import MachineClock
from vm_agent.pulse import NEVER, Pulse, PulseFile

ALIVE, DEAD = 1, 4_194_304  # a pid that every machine has, and one that none has


def impatient(script: str) -> str:
    """startup.sh up to its first step, looking each second, and saying so; a pulse may be late by one second."""
    for old, new in (
        ("\nmain\n", "\narm_deadman\n"),
        ("off - now < 5 ? off - now : 5", "1"),
        ("margin=10", "margin=1"),
        (
            "        now=$(boot_seconds)\n        if",
            '        now=$(boot_seconds)\n        echo "looked: $why"\n        if',
        ),
        ("            sleep 30\n", "            echo held\n            sleep 1\n"),
    ):
        assert script.count(old) == 1, old
        script = script.replace(old, new)
    return script


SCRIPT = impatient(Path("startup.sh").read_text())


@pytest.fixture
def google() -> Iterator[Google]:
    with Google() as google:
        google.attributes["mayfly-boot-minutes"] = "10"
        yield google


@pytest.fixture
async def vm(tmp_path: Path, google: Google) -> AsyncIterator[AGuest]:
    async with AGuest(tmp_path / "disk") as vm:
        await vm.boot(SCRIPT, metadata_host=google.host)
        await vm.says("looked: no agent 10 minutes after the boot")
        yield vm


def beat(vm: AGuest, *, off: float = -100, run: float = 0.0, keeper: int = 0) -> None:
    """The pulse of an agent, with moments in seconds from now."""
    now = MachineClock().uptime()
    pulse = Pulse(now + off, now - 200, now + run if run else 0.0, keeper, "0123456789abcdef")
    PulseFile(vm.disk / "run/mayfly/pulse").write(pulse)


async def stays_on(vm: AGuest) -> None:
    """It has looked three times since, and did nothing."""
    await vm.says("looked:", times=vm.console.count(b"looked:") + 3)
    assert vm.offs == 0


async def test_an_agent_that_fell_silent_is_replaced_at_the_power_button(vm: AGuest):
    beat(vm, off=1000)
    await stays_on(vm)
    beat(vm)
    await vm.is_off()
    assert b"mayfly: silence, and no run in progress, but the agent did nothing: powering off" in vm.console


async def test_a_run_inside_its_deadline_is_not_cut_while_its_keeper_lives(vm: AGuest):
    for run, keeper in ((1000.0, ALIVE), (float(NEVER), ALIVE), (1000.0, 0)):
        beat(vm, run=run, keeper=keeper)
        await stays_on(vm)
    beat(vm, run=1000, keeper=DEAD)
    await vm.is_off()


async def test_a_run_past_its_deadline_is_cut_although_its_keeper_lives(vm: AGuest):
    beat(vm, run=-50, keeper=ALIVE)
    await vm.is_off()
    assert b"mayfly: the run did not end at its deadline, and the agent did nothing: powering off" in vm.console


@pytest.mark.parametrize("left", ["", "nonsense\nnonsense\n", "off=1 run=0 keeper=0 \noff=2 run=0 keeper=0 \n"])
async def test_a_pulse_that_cannot_be_understood_changes_nothing(vm: AGuest, left: str):
    beat(vm, off=1000)
    await stays_on(vm)
    (vm.disk / "run/mayfly/pulse").write_text(left)
    await stays_on(vm)
    (vm.disk / "run/mayfly/pulse").unlink()
    await stays_on(vm)


async def test_who_looks_for_what_ails_the_agent_holds_the_watch_back_too(vm: AGuest, google: Google):
    google.attributes["mayfly-hold"] = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    beat(vm)
    await vm.says("held", times=3)
    assert vm.offs == 0
    del google.attributes["mayfly-hold"]
    await vm.is_off()


async def test_a_button_that_does_not_work_is_pressed_again(tmp_path: Path, google: Google):
    stuck = "export MAYFLY_POWEROFF=$MAYFLY_ROOT/run/button; touch $MAYFLY_POWEROFF; chmod +x $MAYFLY_POWEROFF"
    script = SCRIPT.replace("sleep 60", "sleep 1").replace("\narm_deadman\n", f"\n{stuck}\narm_deadman\n")
    async with AGuest(tmp_path / "disk") as vm:
        await vm.boot(script, metadata_host=google.host)
        await vm.says("looked:")
        beat(vm)
        await vm.says("powering off", times=2)
        (vm.disk / "run/button").write_text("#!/bin/sh\nexec poweroff\n")
        await vm.is_off()
