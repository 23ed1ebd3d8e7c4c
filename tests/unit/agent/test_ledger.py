"""The ledger's promises: at most once, on disk, one way through the states."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_agent.ledger import NEXT, IllegalTransition, Ledger, LostLedger, Mark
from vm_agent.problems import AttemptRefused, Busy, KeyReused, LedgerLost, UnknownRun
from vm_agent.protocol import FunctionJob, Mode, RunView, State

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def a_run(run_id: str = "1", **changes: Any) -> RunView:
    job = FunctionJob(function="main:run")
    known = {"key": "k", "mode": Mode.RUN, "attempt": 1, "job": job, "state": State.ACCEPTED, "version": 1}
    return RunView(id=run_id, accepted_at=NOON, **{**known, **changes})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db")


def ended(ledger: Ledger, run: RunView, state: State) -> RunView:
    return ledger.advance(ledger.advance(run, State.RUNNING), state)


def test_a_key_is_accepted_once(ledger: Ledger) -> None:
    assert ledger.accept(a_run("1"), "same") == (a_run("1"), True)
    assert ledger.accept(a_run("2"), "same") == (a_run("1"), False)


def test_what_was_accepted_is_on_disk_before_anybody_hears_of_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    assert ledger._db.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
    ledger.accept(a_run(), "same")
    ledger.raise_epoch(9)
    ledger._db = sqlite3.connect(":memory:")  # gone without a goodbye
    assert Ledger(tmp_path / "ledger.db").find("1") == a_run()
    assert Ledger(tmp_path / "ledger.db").epoch == 9


def test_a_key_stands_for_one_piece_of_work(ledger: Ledger) -> None:
    ended(ledger, ledger.accept(a_run("1"), "same")[0], State.INTERRUPTED)
    for attempt in (1, 2):
        with pytest.raises(KeyReused):
            ledger.accept(a_run("2", attempt=attempt), "other")


def test_one_run_is_live_at_a_time(ledger: Ledger) -> None:
    run, _ = ledger.accept(a_run("1"), "same")
    with pytest.raises(Busy, match="run 1"):
        ledger.accept(a_run("2", key="another"), "same")
    ended(ledger, run, State.FAILED)
    assert ledger.accept(a_run("2", key="another"), "same")[1]


def test_a_second_attempt_needs_an_interrupted_first(ledger: Ledger) -> None:
    first, _ = ledger.accept(a_run("1"), "same")
    assert ledger.accept(a_run("2", attempt=2), "same") == (first, False), "it may succeed yet"
    ended(ledger, first, State.INTERRUPTED)
    with pytest.raises(AttemptRefused, match="1 INTERRUPTED"):
        ledger.accept(a_run("2", attempt=3), "same")
    second, new = ledger.accept(a_run("2", attempt=2), "same")
    assert new
    done = ended(ledger, second, State.SUCCEEDED)
    assert ledger.accept(a_run("3", attempt=3), "same") == (done, False)
    assert ledger.accept(a_run("3", attempt=1), "same")[0].id == "1"


@pytest.mark.parametrize("state", [state for state in State if state is not State.INTERRUPTED])
def test_a_further_attempt_means_the_first_unless_that_was_interrupted(ledger: Ledger, state: State) -> None:
    first, _ = ledger.accept(a_run("1", state=state), "same")
    for attempt in (2, 3):
        assert ledger.accept(a_run("2", attempt=attempt), "same") == (first, False)


asking = st.tuples(st.just("ask"), st.sampled_from("ab"), st.integers(1, 4))
ending = st.tuples(st.just("end"), st.sampled_from([state for state in State if state.finished]), st.just(0))


@given(steps=st.lists(asking | ending, max_size=30))
def test_whatever_is_asked_and_however_runs_end_no_attempt_starts_twice_or_out_of_turn(steps: list[Any]) -> None:
    ledger = Ledger(Path(":memory:"))
    accepted: list[RunView] = []
    for number, (step, what, attempt) in enumerate(steps):
        live = ledger.live()
        if step == "end":
            if live:
                ended(ledger, live, what)
            continue
        before = [ledger.find(run.id) for run in accepted if run.key == what]
        try:
            view, new = ledger.accept(a_run(str(number), key=what, attempt=attempt), "same")
        except Busy:
            assert live is not None
            assert live.key != what, "whoever asks for the live run again is told of it"
        except AttemptRefused:
            earlier = attempt < before[0].attempt  # than all that this ledger knows of
            assert earlier or before[-1].state is State.INTERRUPTED, "nothing else is refused"
        else:
            assert new == (view.id == str(number))
            if new:
                assert live is None
                assert not before or (before[-1].state, before[-1].attempt) == (State.INTERRUPTED, attempt - 1)
                accepted.append(view)
            else:
                assert view in before
                assert view.attempt == attempt or (view == before[-1] and view.state is not State.INTERRUPTED)
    assert len({(run.key, run.attempt) for run in accepted}) == len(accepted)


def test_a_ledger_that_is_new_takes_the_callers_word_for_earlier_attempts(ledger: Ledger) -> None:
    assert ledger.accept(a_run("1", attempt=2), "same")[1]
    ended(ledger, ledger.find("1"), State.INTERRUPTED)
    with pytest.raises(AttemptRefused):
        ledger.accept(a_run("2", attempt=1), "same")


@given(start=st.sampled_from(State), end=st.sampled_from(State))
def test_a_run_moves_only_as_the_table_says(start: State, end: State) -> None:
    ledger = Ledger(Path(":memory:"))
    run = a_run(state=start)
    ledger.accept(run, "same")
    if end in NEXT[start]:
        moved = ledger.advance(run, end)
        assert (moved.state, moved.version, ledger.find("1")) == (end, 2, moved)
        assert (ledger.live() is None) == end.finished
    else:
        with pytest.raises(IllegalTransition):
            ledger.advance(run, end)


def test_a_run_that_somebody_else_moved_on_is_not_moved_back(ledger: Ledger) -> None:
    run, _ = ledger.accept(a_run(), "same")
    ended(ledger, run, State.CANCELLED)
    with pytest.raises(IllegalTransition):
        ledger.advance(run, State.RUNNING)


def test_the_mark_of_a_process_is_kept(ledger: Ledger) -> None:
    run, _ = ledger.accept(a_run(), "same")
    assert ledger.mark("1") is None
    running = ledger.advance(run, State.RUNNING, mark=Mark(7, "99", "boot"))
    ledger.advance(running, State.INTERRUPTED)
    assert ledger.mark("1") == Mark(7, "99", "boot")


def test_the_epoch_never_falls(ledger: Ledger) -> None:
    for epoch, highest in ((5, 5), (3, 5), (8, 8)):
        ledger.raise_epoch(epoch)
        assert ledger.epoch == highest


def test_runs_are_listed_newest_first(ledger: Ledger) -> None:
    for number, (key, mode) in enumerate([("a", Mode.RUN), ("b", Mode.RUN), ("a", Mode.TEST), ("b", Mode.TEST)]):
        run, _ = ledger.accept(a_run(str(number), key=key, mode=mode), "same")
        ended(ledger, run, State.FAILED)
    assert [run.id for run in ledger.newest(3)] == ["3", "2", "1"]
    assert [run.id for run in ledger.newest(9, "b")] == ["3", "1"]


def test_an_unknown_run_is_said_to_be_unknown(ledger: Ledger) -> None:
    with pytest.raises(UnknownRun):
        ledger.find("none")


def test_a_ledger_makes_its_folder_and_those_above(tmp_path: Path) -> None:
    Ledger(tmp_path / "var" / "lib" / "ledger.db").close()
    Ledger(tmp_path / "var" / "lib" / "ledger.db").close()


def test_a_forbidden_step_and_a_refused_attempt_say_what_there_was(ledger: Ledger) -> None:
    ended(ledger, ledger.accept(a_run("1"), "same")[0], State.INTERRUPTED)
    ended(ledger, ledger.accept(a_run("2", attempt=2), "same")[0], State.INTERRUPTED)
    with pytest.raises(AttemptRefused, match="attempt 5; those so far: 1 INTERRUPTED, 2 INTERRUPTED"):
        ledger.accept(a_run("3", attempt=5), "same")
    with pytest.raises(IllegalTransition, match="run 1: INTERRUPTED -> RUNNING"):
        ledger.advance(ledger.find("1"), State.RUNNING)


def test_a_ledger_that_cannot_be_opened_never_says_that_there_are_no_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lost = LostLedger("the disk is gone")
    for ask in (lambda: lost.accept(a_run(), "same"), lambda: lost.find("1"), lambda: lost.newest(1)):
        with pytest.raises(LedgerLost, match="the disk is gone"):
            ask()
    assert lost.live() is None, "it began none"
    assert list(tmp_path.iterdir()) == [], "and leaves none on another disk"
