"""The receipt: exact for programs, clear for people, loud when something is owed."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO, StringIO, TextIOWrapper

import pytest
from pydantic import TypeAdapter
from rich.console import Console

from mayfly.receipt import as_json, show
from orchestrator.run import CopiedFile, Outcome, PhaseTime, Receipt, VmUse
from vm_agent.protocol import Mode

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GOOD = Receipt(
    run_key="night",
    mode=Mode.RUN,
    outcome=Outcome.SUCCEEDED,
    exit_code=0,
    project="demo",
    job="main:run",
    started_at=NOON,
    result={"text": "[red]hello[/]"},
    artifacts=(CopiedFile("a.txt", 1234, "ab" * 32, "out/1/artifacts/a.txt"),),
    phases=(PhaseTime("start", NOON, 8.25), PhaseTime("job", NOON, 120)),
    vm=VmUse("gpu-vm", "us-central1-a", "42", 130.5, 10.25, 0.0254, "USD"),
    address={"name": "gpu-ip", "ip": "203.0.113.7", "policy": "detach"},
)
OWED = replace(
    GOOD, outcome=Outcome.CLEANUP_OWED, exit_code=7, cleanup="owed", vm=VmUse("gpu-vm", "us-central1-a", "42")
)


def shown(receipt: Receipt, width: int = 120) -> str:
    console = Console(file=StringIO(), width=width)
    show(receipt, console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_json_has_exactly_the_names_that_programs_rely_on() -> None:
    fields = json.loads(as_json(GOOD, StringIO()))
    assert " ".join(fields) == (
        "run_key mode outcome exit_code detail result attempts project job started_at answered_from_memory artifacts "
        "phases vm address cleanup"
    )
    assert list(fields["phases"][0]) == ["name", "started", "seconds"]
    assert list(fields["vm"]) == ["instance", "zone", "id", "billed_seconds", "idle_seconds", "cost", "currency"]
    assert list(fields["address"]) == ["name", "ip", "policy"]
    assert fields["artifacts"] == [
        {"path": "a.txt", "size": 1234, "sha256": "ab" * 32, "saved_to": "out/1/artifacts/a.txt"}
    ]


def test_the_json_is_one_line_that_reads_back_as_the_same_receipt() -> None:
    line = as_json(GOOD, StringIO())
    assert "\n" not in line
    assert TypeAdapter(Receipt).validate_json(line) == GOOD


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_the_json_suits_the_encoding_of_the_stream(encoding: str) -> None:
    told = {"said": "Grüße ✓ \ud800"}  # half a character: JSON can say it, no encoding can
    stream = TextIOWrapper(BytesIO(), encoding=encoding)
    stream.write(as_json(replace(GOOD, result=told), stream))
    stream.seek(0)
    assert json.loads(stream.read())["result"] == told


def test_cloud_logging_is_told_how_bad_it_is_in_the_same_line() -> None:
    entry = json.loads(as_json(OWED, StringIO(), for_cloud_logging=True))
    assert entry["severity"] == "ERROR"
    assert "may still be on" in entry["message"]
    assert entry["cleanup"] == "owed"


def test_a_person_sees_what_ran_how_it_ended_and_what_it_cost() -> None:
    text = shown(GOOD)
    for word in (
        "run succeeded",
        "main:run",
        "night",
        "130.5 s billed, 10.2 s of them idle, 0.0254 USD",
        "203.0.113.7",
    ):
        assert word in text
    for word in ("detached", "start", "8.2 s", "120.0 s", "1,234 bytes", "[red]hello[/]", "time limit stays armed"):
        assert word in text


def test_what_is_owed_is_shown_with_the_place_to_look_and_the_words_to_type() -> None:
    text = shown(OWED, width=200)
    assert "CLEAN-UP OWED" in text
    assert "instancesDetail/zones/us-central1-a/instances/gpu-vm?project=demo" in text
    assert "gcloud compute instances stop gpu-vm --zone us-central1-a --project demo" in text
    assert "mayfly run --key night" in text
    assert "not seen detached" in text
    assert "gpu-vm in us-central1-a: not seen off" in text


def test_what_is_owed_on_an_emulator_is_looked_at_there() -> None:
    console = Console(file=StringIO(), width=40)
    show(OWED, console, emulator="127.0.0.1:8475")
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "  http://127.0.0.1:8475/" in lines
    assert "  gcloud compute instances stop gpu-vm --zone us-central1-a --project demo" in lines  # in one piece
    assert "console.cloud.google.com" not in "\n".join(lines)


@pytest.mark.parametrize(
    ("outcome", "title"),
    [
        (Outcome.NO_MACHINE, "run got no VM (exit 3)"),
        (Outcome.FAILED, "run failed (exit 1)"),
        (Outcome.TERMINATED, "run called off (exit 143)"),
    ],
)
def test_the_title_says_how_it_ended_in_words(outcome: Outcome, title: str) -> None:
    assert title in shown(replace(GOOD, outcome=outcome, exit_code=int(outcome.exit)))


def test_a_terminal_with_few_letters_gets_the_plain_ones() -> None:
    stream = TextIOWrapper(BytesIO(), encoding="ascii", errors="strict")
    show(replace(GOOD, artifacts=()), Console(file=stream, width=80))
    stream.seek(0)
    assert "=" * 24 in stream.read()


def test_a_receipt_without_vm_and_a_narrow_terminal_are_no_trouble() -> None:
    refused = replace(GOOD, outcome=Outcome.BUSY, exit_code=6, vm=None, address=None, phases=(), detail="in use")
    assert "in use" in shown(refused, width=30)
    assert max(map(len, shown(GOOD, width=40).splitlines())) <= 40


def test_a_remembered_outcome_says_so() -> None:
    assert "has run before" in shown(replace(GOOD, answered_from_memory=True))
