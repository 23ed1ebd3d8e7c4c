"""The dead-man: when it powers off, when it must not, and that it survives what it depends on."""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clocks import BootClock
from vm_agent import policy
from vm_agent.deadman import Deadman, Ending, Facts, ending
from vm_agent.hold import Banner, hold_seconds
from vm_agent.pulse import NEVER, Pulse, PulseFile

SILENCE = 180.0
LISTEN = policy.DEADMAN_LISTEN_SECONDS
SPOKEN = Facts(heard=1000, listening_since=0)

moments = st.floats(0, 1e6)
digests = st.sampled_from(["", "0123456789abcdef"])
facts = st.builds(Facts, moments, moments, st.none() | moments | st.just(math.inf), st.just(0.0) | moments)


@pytest.mark.parametrize(
    ("known", "at", "why"),
    [
        (SPOKEN, 1180, "no word for 180 s"),
        (replace(SPOKEN, run_until=1100), 1100, "its deadline"),
        (replace(SPOKEN, run_until=9000), 9000, "its deadline"),
        (replace(SPOKEN, run_until=math.inf), math.inf, "its deadline"),
        (replace(SPOKEN, held_until=5000), 5000, "no word for 180 s"),
        (replace(SPOKEN, held_until=5000, run_until=1100), 5000, "its deadline"),
        (replace(SPOKEN, held_until=900), 1180, "no word for 180 s"),
        (replace(SPOKEN, listening_since=1500), 1500 + LISTEN, "no word for 180 s"),
    ],
    ids=["silence", "overdue", "run", "endless-run", "hold", "hold-and-run", "hold-over", "just-woken"],
)
def test_the_moment_follows_from_the_facts(known: Facts, at: float, why: str) -> None:
    assert ending(known, SILENCE) == Ending(at, ending(known, SILENCE).why)
    assert why in ending(known, SILENCE).why


@given(known=facts)
def test_a_run_inside_its_deadline_is_never_cut_and_an_overdue_one_always(known: Facts) -> None:
    if known.run_until is not None:
        assert ending(known, SILENCE).at >= known.run_until
        assert ending(known, SILENCE).at <= max(known.run_until, known.held_until, known.listening_since + LISTEN)


@given(known=facts)
def test_without_a_run_it_goes_off_when_silence_and_hold_are_over_and_never_before(known: Facts) -> None:
    if known.run_until is None:
        assert ending(known, SILENCE).at >= known.heard + SILENCE
        assert ending(known, SILENCE).at <= max(known.heard + SILENCE, known.held_until, known.listening_since + LISTEN)


@given(known=facts, later=moments)
def test_a_word_or_a_hold_never_brings_the_end_nearer(known: Facts, later: float) -> None:
    for more in (replace(known, heard=known.heard + later), replace(known, held_until=known.held_until + later)):
        assert ending(more, SILENCE).at >= ending(known, SILENCE).at


class Off(BaseException):
    """The machine is off."""


class Machine:
    """A VM that has just booted: its clock, its disk, its power button, and the agents that come and go on it."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.file, self.banner = BootClock(), PulseFile(folder / "run/pulse"), folder / "banner"
        self.failures: list[Exception] = []

    def agent(self) -> Deadman:
        """The dead-man of a new agent process."""
        deadman = Deadman(self.clock, self.file, Banner(self.banner), silence_seconds=SILENCE, run_grace_seconds=60)
        deadman.arm()
        return deadman

    async def off_after(self, deadman: Deadman) -> float:
        """How long from now it takes until it has powered the machine off, in seconds."""
        began = self.clock.seconds
        with pytest.raises(Off):
            await deadman.watch(self._press)
        return self.clock.seconds - began

    async def _press(self) -> None:
        raise self.failures.pop(0) if self.failures else Off


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def a_lease(number: int) -> Mapping[str, str]:
    return {"mayfly-lease": json.dumps({"epoch": number}), "startup-script": "..."}


async def test_a_vm_that_nobody_ever_spoke_to_is_off_after_the_silence(machine: Machine) -> None:
    assert await machine.off_after(machine.agent()) == SILENCE


async def test_silence_counts_from_the_last_word(machine: Machine) -> None:
    deadman = machine.agent()
    for minute in range(1, 61):
        machine.clock.after(60 * minute, deadman.word)
    assert await machine.off_after(deadman) == 3600 + SILENCE


async def test_a_lease_that_changes_is_a_word_and_one_that_stays_is_none(machine: Machine) -> None:
    deadman = machine.agent()
    machine.clock.after(1, lambda: deadman.saw(a_lease(1)))  # how it was found
    machine.clock.after(100, lambda: deadman.saw(a_lease(2)))
    machine.clock.after(200, lambda: deadman.saw(a_lease(2) | {"ssh-keys": "somebody else's business"}))
    assert await machine.off_after(deadman) == 100 + SILENCE


async def test_the_lease_that_is_found_at_the_boot_is_no_word(machine: Machine) -> None:
    deadman = machine.agent()
    machine.clock.after(100, lambda: deadman.saw(a_lease(1)))
    assert await machine.off_after(deadman) == SILENCE


async def test_a_lease_that_comes_or_goes_has_changed(machine: Machine) -> None:
    deadman = machine.agent()
    machine.clock.after(1, lambda: deadman.saw({}))
    machine.clock.after(100, lambda: deadman.saw(a_lease(1)))
    machine.clock.after(200, lambda: deadman.saw({}))
    assert await machine.off_after(deadman) == 200 + SILENCE


async def test_a_run_goes_on_through_any_silence_and_the_vm_is_off_soon_after_it(machine: Machine) -> None:
    deadman = machine.agent()
    deadman.began(7200, 4711)
    assert deadman.minds_a_run
    machine.clock.after(7100, deadman.ended)
    assert 7100 <= await machine.off_after(deadman) <= 7100 + policy.DEADMAN_LOOK_SECONDS
    assert not deadman.minds_a_run


async def test_a_run_that_does_not_end_at_its_deadline_is_cut_whoever_speaks(machine: Machine) -> None:
    deadman = machine.agent()
    deadman.began(600, 4711)
    for minute in range(1, 30):
        machine.clock.after(60 * minute, deadman.word)
    assert await machine.off_after(deadman) == 660
    assert not deadman.minds_a_run


async def test_a_run_without_a_limit_is_never_cut(machine: Machine) -> None:
    deadman = machine.agent()
    deadman.began(None, 4711)
    machine.clock.after(1e6, deadman.ended)
    assert await machine.off_after(deadman) >= 1e6


async def test_who_is_at_work_keeps_it_on_until_then_and_the_banner_says_so(machine: Machine) -> None:
    deadman = machine.agent()
    until = machine.clock.now() + timedelta(hours=2)
    machine.clock.after(100, lambda: deadman.saw({"mayfly-hold": until.isoformat()}))
    machine.clock.after(3600, lambda: shown.append(machine.banner.read_text()))
    shown: list[str] = []
    assert await machine.off_after(deadman) == 7200
    assert until.isoformat() in shown[0]


async def test_a_hold_that_is_taken_back_holds_no_longer(machine: Machine) -> None:
    deadman = machine.agent()
    deadman.saw({"mayfly-hold": "2999-01-01T00:00:00Z"})
    machine.clock.after(1000, lambda: deadman.saw({}))
    assert 1000 <= await machine.off_after(deadman) <= 1000 + policy.DEADMAN_LOOK_SECONDS
    assert not machine.banner.exists()


async def test_a_hold_without_an_end_holds_for_a_day_however_often_it_is_read(machine: Machine) -> None:
    deadman = machine.agent()
    for hour in range(40):
        machine.clock.after(3600 * hour + 1, lambda: deadman.saw({"mayfly-hold": "2999-01-01T00:00:00Z"}))
    assert await machine.off_after(deadman) == 86401


async def test_a_hold_without_an_end_is_no_longer_for_an_agent_that_starts_again(machine: Machine) -> None:
    began = machine.clock.seconds
    for _ in range(23):
        machine.agent().saw({"mayfly-hold": "2999-01-01T00:00:00Z"})
        machine.clock.seconds += 3600
    deadman = machine.agent()
    machine.clock.after(1, lambda: deadman.saw({"mayfly-hold": "2999-01-01T00:00:00Z"}))
    await machine.off_after(deadman)
    assert machine.clock.seconds - began == 86400


spans = st.integers(1, 2000)
steps = st.tuples(
    spans,  # after the step before
    st.sampled_from(["word", "same lease", "new lease", "run", "end", "hold", "no hold", "freeze"]),
    spans,  # how long the run may take, the hold is, the freeze lasts
)


@given(schedule=st.lists(steps, max_size=20))
async def test_whatever_happens_it_powers_off_when_it_must_and_never_when_it_must_not(
    schedule: list[tuple[int, str, int]],
) -> None:
    with TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        clock, deadman = machine.clock, machine.agent()
        happened = Happened(clock, deadman)
        at = 0
        for after, what, span in schedule:
            at += after
            clock.after(at, partial(happened.one_more, what, span))
        deadman.saw({})
        await machine.off_after(deadman)
    if happened.run_until is not None:
        assert clock.seconds >= happened.run_until
    else:
        assert clock.seconds >= happened.word + SILENCE
    assert clock.seconds >= happened.held_until
    must = [happened.last, happened.held_until, happened.run_until or happened.word + SILENCE]
    assert clock.seconds <= max(must) + policy.DEADMAN_LOOK_SECONDS + LISTEN


@dataclass
class Happened:
    """What the dead-man was told, and what a bystander makes of it."""

    clock: BootClock
    deadman: Deadman
    word: float = 5000
    run_until: float | None = None
    held_until: float = 0
    last: float = 5000
    metadata: dict[str, str] = field(default_factory=dict)

    def one_more(self, what: str, span: float) -> None:
        now = self.last = self.clock.seconds
        match what:
            case "word":
                self.deadman.word()
                self.word = now
            case "new lease":
                self.metadata["mayfly-lease"] = str(now)
                self.word = now
            case "run":
                self.deadman.began(span)
                self.run_until = now + span + 60
            case "end":
                self.deadman.ended()
                self.run_until = None
            case "hold":
                self.metadata["mayfly-hold"] = (self.clock.now() + timedelta(seconds=span)).isoformat()
                self.held_until = now + span
            case "no hold":
                self.metadata.pop("mayfly-hold", None)
                self.held_until = 0
            case "freeze":
                self.clock.seconds += span
                self.last = self.clock.seconds
        if what not in {"word", "run", "end", "freeze"}:
            self.deadman.saw(self.metadata)


@pytest.mark.parametrize("text", ["", "for ever", "tomorrow", "2029-12-31T23:59:59Z", "2030-01-01"])
def test_what_is_no_time_to_come_holds_nothing(text: str) -> None:
    assert hold_seconds(text, datetime(2030, 1, 1, tzinfo=UTC)) == 0


@pytest.mark.parametrize("text", ["2030-01-01T01:00:00Z", "2030-01-01T01:00", "2030-01-01T10:00:00+09:00"])
def test_a_hold_is_a_time_in_rfc_3339(text: str) -> None:
    assert hold_seconds(text, datetime(2030, 1, 1, tzinfo=UTC)) == 3600


async def test_a_button_that_fails_is_pressed_again_each_minute_whatever_is_said_meanwhile(machine: Machine) -> None:
    deadman = machine.agent()
    machine.failures = [OSError("no memory"), ValueError("a bug")]
    machine.clock.after(SILENCE + 10, deadman.word)
    assert await machine.off_after(deadman) == SILENCE + 2 * policy.POWEROFF_REPEAT_SECONDS


async def test_an_agent_that_starts_again_and_again_does_not_put_the_end_off(machine: Machine) -> None:
    for _ in range(17):
        machine.agent()
        machine.clock.seconds += 10
    assert await machine.off_after(machine.agent()) == max(SILENCE - 170, LISTEN)


async def test_an_agent_that_starts_again_late_hears_first_what_it_missed(machine: Machine) -> None:
    machine.agent().saw(a_lease(1))
    machine.clock.seconds += 10 * SILENCE
    deadman = machine.agent()
    machine.clock.after(1, lambda: deadman.saw(a_lease(2)))
    assert await machine.off_after(deadman) == 1 + SILENCE, "the lease was renewed while nobody listened"
    machine.clock.seconds += 10 * SILENCE
    deadman = machine.agent()
    machine.clock.after(1, lambda: deadman.saw(a_lease(2)))
    assert await machine.off_after(deadman) == LISTEN, "and here it was not"


async def test_an_agent_that_was_frozen_listens_before_it_judges(machine: Machine) -> None:
    deadman = machine.agent()

    def freeze() -> None:
        machine.clock.seconds += 10 * SILENCE
        machine.clock.after(5, deadman.word)  # the caller that has been waiting

    machine.clock.after(50, freeze)
    assert await machine.off_after(deadman) >= 11 * SILENCE


async def test_the_pulse_on_disk_is_never_much_older_than_the_last_word(machine: Machine) -> None:
    deadman = machine.agent()
    seen: list[Pulse | None] = []
    machine.clock.after(100, deadman.word)
    machine.clock.after(100 + policy.DEADMAN_LOOK_SECONDS, lambda: seen.append(machine.file.read()))
    began = machine.clock.seconds
    await machine.off_after(deadman)
    assert seen[0] is not None
    assert (seen[0].heard, seen[0].off) == (began + 100, began + 100 + SILENCE)


def test_a_run_is_in_the_pulse_from_the_moment_it_is_accepted_to_its_end(machine: Machine) -> None:
    deadman = machine.agent()
    deadman.began(600)
    assert machine.file.read() == Pulse(5180, 5000, 5660)
    deadman.began(600, 4711)
    assert machine.file.read() == Pulse(5180, 5000, 5660, 4711)
    deadman.began(None, 4711)
    assert machine.file.read() == Pulse(5180, 5000, NEVER, 4711)
    deadman.ended()
    assert machine.file.read() == Pulse(5180, 5000)


def test_a_hold_is_in_the_pulse_for_a_watch_that_cannot_read_the_metadata(machine: Machine) -> None:
    deadman = machine.agent()
    deadman.saw({"mayfly-hold": (machine.clock.now() + timedelta(hours=1)).isoformat()})
    pulse = machine.file.read()
    assert pulse is not None
    assert (pulse.off, pulse.held) == (8600, 8600)


async def test_nothing_of_it_needs_a_disk_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where a folder should be")
    machine = Machine(tmp_path)
    machine.banner = tmp_path / "run/banner"
    deadman = machine.agent()
    deadman.saw({"mayfly-hold": (machine.clock.now() + timedelta(hours=1)).isoformat()})
    assert await machine.off_after(deadman) == 3600


@pytest.mark.parametrize("text", ["", "off=1 run=0\n", "nonsense\nnonsense\n", "é" * 300, "off=1\noff=2\n"])
async def test_a_pulse_that_cannot_be_understood_is_none(machine: Machine, text: str) -> None:
    machine.file.path.parent.mkdir()
    machine.file.path.write_text(text, encoding="utf-8")
    assert machine.file.read() is None
    assert await machine.off_after(machine.agent()) == SILENCE


@given(st.builds(Pulse, moments, moments, moments, st.integers(0, 4194304), digests, moments, digests))
def test_what_is_written_of_a_pulse_is_read_to_the_second_and_in_one_page(pulse: Pulse) -> None:
    with TemporaryDirectory() as folder:
        file = PulseFile(Path(folder) / "pulse")
        file.write(Pulse(NEVER, 1e9, math.inf, 4194304, "f" * 16, 1e9, "f" * 16))
        file.write(pulse)
        read = file.read()
        assert file.path.stat().st_size == 512
    whole = {name: math.ceil(getattr(pulse, name)) for name in ("off", "run", "held")}
    assert read == replace(pulse, heard=round(pulse.heard, 2), **whole)


def test_a_pulse_can_be_written_when_its_disk_is_full(small_disk: Path) -> None:
    file = PulseFile(small_disk / "pulse")
    file.write(Pulse(1, 1))
    with (small_disk / "fill").open("wb", buffering=0) as filling, suppress(OSError):
        while True:
            filling.write(bytes(4096))
    assert disk_usage(small_disk).free == 0
    file.write(Pulse(2, 2, 3, 4))
    assert file.read() == Pulse(2, 2, 3, 4)


def test_until_it_is_armed_it_leaves_no_pulse_and_then_one_without_a_run(machine: Machine) -> None:
    deadman = Deadman(machine.clock, machine.file, Banner(machine.banner), silence_seconds=SILENCE)
    deadman.saw(a_lease(1))
    deadman.ended()
    assert machine.file.read() is None
    machine.agent()
    assert machine.file.read() == Pulse(5180, 5000)


async def test_the_last_line_in_the_log_says_why(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    await machine.off_after(machine.agent())
    assert "dead-man: no word for 180 s, and no run in progress: powering off" in caplog.text


@pytest.mark.parametrize(("at", "span", "off"), [(176, 10, 186), (178, 17, 195), (178, 18, 196 + LISTEN)])
async def test_a_short_standstill_is_no_excuse(machine: Machine, at: float, span: float, off: float) -> None:
    """It looks every five seconds; who wakes more than 15 s too late has to listen first."""
    deadman = machine.agent()

    def stand_still() -> None:
        machine.clock.seconds += span

    machine.clock.after(at, stand_still)
    assert await machine.off_after(deadman) == off


async def test_a_lease_without_words_is_none(machine: Machine) -> None:
    deadman = machine.agent()
    machine.clock.after(1, lambda: deadman.saw({}))
    machine.clock.after(100, lambda: deadman.saw({"mayfly-lease": ""}))
    assert await machine.off_after(deadman) == SILENCE


def test_what_was_seen_of_lease_and_hold_is_in_the_pulse_as_sixteen_characters_each(machine: Machine) -> None:
    deadman = machine.agent()
    deadman.saw(a_lease(1) | {"mayfly-hold": "for ever"})
    pulse = machine.file.read()
    assert pulse is not None
    assert (len(pulse.lease), len(pulse.hold)) == (16, 16)
