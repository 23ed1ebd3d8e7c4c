"""The receipt: all that goes to stdout. JSON for programs, a panel for people."""

import dataclasses
import json
from datetime import datetime
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from orchestrator.lease import AddressPolicy
from orchestrator.run import CopiedFile, Outcome, PhaseTime, Receipt, VmUse
from orchestrator.telemetry import json_line, sentence_of, severity_of
from vm_agent.protocol import Mode

_RESULT_CHARACTERS = 2000  # of a result on a terminal; the JSON has all of it
_ENTRY_BYTES = 200_000  # of a line: an entry of Cloud Logging holds 256 KiB, with its labels
_BAR_WIDTH = 24
_ENDINGS = {  # where the outcome's own word does not make a title: "run succeeded", "test failed"
    Outcome.NO_MACHINE: "got no VM",
    Outcome.AGENT_FAULT: "failed: no agent to do it",
    Outcome.BUSY: "refused: in use, nothing was touched",
    Outcome.TIMED_OUT: "timed out",
    Outcome.TERMINATED: "called off",
    Outcome.CLEANUP_OWED: "ended, clean-up owed",
}


def as_json(receipt: Receipt, stream: TextIO, *, for_cloud_logging: bool = False) -> str:
    """One line for the stream. Cloud Logging also gets what it shows of an entry: `severity` and `message`.

    It takes a longer line than an entry holds for text in pieces, and no receipt would be found: a result that long is
    cut there, to a text that says so.
    """
    fields = _fields(receipt)
    if not for_cloud_logging:
        return json_line(fields, stream)
    fields = {"severity": severity_of(receipt), "message": sentence_of(receipt), **fields}
    line = json_line(fields, stream)
    if len(line.encode(errors="replace")) <= _ENTRY_BYTES:
        return line
    return json_line({**fields, "result": _short(receipt.result, "Cloud Logging takes no more")}, stream)


def _fields(receipt: Receipt) -> dict[str, Any]:
    vm = receipt.vm
    return {
        "run_key": receipt.run_key,
        "mode": receipt.mode,
        "outcome": receipt.outcome,
        "exit_code": int(receipt.exit_code),
        "detail": receipt.detail,
        "result": receipt.result,
        "attempts": receipt.attempts,
        "project": receipt.project,
        "job": receipt.job,
        "started_at": receipt.started_at.isoformat(timespec="milliseconds"),
        "answered_from_memory": receipt.answered_from_memory,
        "artifacts": [vars(file) for file in receipt.artifacts],
        "phases": [
            {
                "name": phase.name,
                "started": phase.started.isoformat(timespec="milliseconds"),
                "seconds": round(phase.seconds, 3),
            }
            for phase in receipt.phases
        ],
        "vm": vm and {**vars(vm), "billed_seconds": _milli(vm.billed_seconds), "idle_seconds": _milli(vm.idle_seconds)},
        "address": receipt.address,
        "cleanup": receipt.cleanup,
    }


def receipt_of(fields: dict[str, Any]) -> Receipt:
    """The receipt that was printed as JSON, of this release or of another: what we do not know is passed over."""
    known = {field.name: fields[field.name] for field in dataclasses.fields(Receipt) if field.name in fields}
    phases = [PhaseTime(one["name"], datetime.fromisoformat(one["started"]), one["seconds"]) for one in known["phases"]]
    return Receipt(
        **known
        | {
            "mode": Mode(known["mode"]),
            "outcome": Outcome(known["outcome"]),
            "exit_code": int(known["exit_code"]),
            "started_at": datetime.fromisoformat(known["started_at"]),
            "artifacts": tuple(CopiedFile(**file) for file in known["artifacts"]),
            "phases": tuple(phases),
            "vm": known["vm"] and VmUse(**known["vm"]),
        }
    )


def _milli(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def show(receipt: Receipt, console: Console, *, emulator: str | None = None) -> None:
    """Print the receipt for a person; what is owed comes last, where it is seen. `emulator`: where the VM was."""
    style = "green" if receipt.outcome is Outcome.SUCCEEDED else "yellow" if receipt.outcome is Outcome.BUSY else "red"
    title = Text(f" {_title(receipt)} ", style=f"bold {style}")
    console.print(Panel(Group(*_parts(receipt, console)), title=title, title_align="left", border_style=style))
    if receipt.cleanup == "owed":
        show_owed(receipt, console, emulator=emulator)


def _title(receipt: Receipt) -> str:
    ending = f"{receipt.mode} {_ENDINGS.get(receipt.outcome, receipt.outcome)}"
    return ending if receipt.outcome is Outcome.SUCCEEDED else f"{ending} (exit {receipt.exit_code})"


def _parts(receipt: Receipt, console: Console) -> list[RenderableType]:
    parts: list[RenderableType] = [_facts(receipt)]
    if receipt.phases:
        parts += [Text(), _phases(receipt, bar="━" if console.encoding.startswith("utf") else "=")]
    if receipt.result is not None:
        parts += [Text(), Text("Result", style="bold"), _result(receipt.result)]
    if receipt.detail:
        parts += [Text(), Text(receipt.detail)]
    return parts


def _facts(receipt: Receipt) -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("job", Text(receipt.job))
    facts.add_row("key", Text(receipt.run_key))
    if receipt.answered_from_memory:
        facts.add_row("", "This key has run before: this is its outcome, and no VM was started.")
    if receipt.vm:
        facts.add_row(
            "VM",
            Text(f"{receipt.vm.instance} in {receipt.vm.zone}: {_use(receipt.vm, owed=receipt.cleanup == 'owed')}"),
        )
    if receipt.address:
        facts.add_row("IP", Text(_address(receipt.address, done=receipt.cleanup == "confirmed")))
    for file in receipt.artifacts:
        facts.add_row("file", Text(f"{file.saved_to} ({file.size:,} bytes, SHA-256 {file.sha256[:12]}…)"))
    if receipt.vm and receipt.cleanup != "owed":
        facts.add_row(
            "", Text("Its time limit stays armed, and also stops the VM if you start it by hand.", style="dim")
        )
    return facts


def _use(vm: VmUse, *, owed: bool) -> str:
    if owed:
        return "not seen off"
    if vm.billed_seconds is None:
        return "not started"
    use = f"{vm.billed_seconds:.1f} s billed"
    if vm.idle_seconds is not None:
        use += f", {vm.idle_seconds:.1f} s of them idle"
    if vm.cost is not None:
        use += f", {vm.cost:.4f} {vm.currency or ''}".rstrip()
    return use


def _address(address: dict[str, str | None], *, done: bool) -> str:
    ends = {AddressPolicy.DETACH: "detached", AddressPolicy.KEEP: "kept on the VM", AddressPolicy.RELEASE: "released"}
    end = ends[AddressPolicy(address["policy"] or AddressPolicy.DETACH)]
    return f"{address['name']} ({address['ip'] or 'not looked up'}), {end if done else f'not seen {end}'}"


def _phases(receipt: Receipt, *, bar: str) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="cyan", no_wrap=True, overflow="crop")
    longest = max(phase.seconds for phase in receipt.phases) or 1
    for phase in receipt.phases:
        length = max(1, round(phase.seconds / longest * _BAR_WIDTH))
        table.add_row(phase.name, f"{phase.seconds:.1f} s", bar * length)
    return table


def _result(result: Any) -> RenderableType:
    if not isinstance(result, dict):
        return Text(_short(result))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in result.items():
        table.add_row(Text(str(name)), Text(_short(value)))
    return table


def _short(value: Any, rest: str = "--json prints all") -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if len(text) <= _RESULT_CHARACTERS:
        return text
    return f"{text[:_RESULT_CHARACTERS]}… ({len(text):,} characters; {rest})"


def show_owed(receipt: Receipt, console: Console, *, emulator: str | None = None) -> None:
    """The loudest thing there is: a VM that may still be on, where to see it and how to turn it off."""
    console.print(Text(" CLEAN-UP OWED: the VM may still be on and cost money ", style="bold white on red"))
    for line in owed_lines(receipt, emulator):
        console.print(line, soft_wrap=True, highlight=False, markup=False)  # in one piece, to be copied


def owed_lines(receipt: Receipt, emulator: str | None = None) -> list[str]:
    """What to look at and what to type."""
    project, vm = receipt.project, receipt.vm
    console = f"http://{emulator}/" if emulator else "https://console.cloud.google.com/compute"
    if vm is None:
        return [f"Look at the VMs of {project}: {console}" + ("" if emulator else f"/instances?project={project}")]
    which = f"--instance {vm.instance} --zone {vm.zone} --project {project}"
    place = "" if emulator else f"/instancesDetail/zones/{vm.zone}/instances/{vm.instance}?project={project}"
    return [
        f"{vm.instance} in {vm.zone} was not seen off. Look:",
        f"  {console}{place}",
        "Turn it off:",
        f"  gcloud compute instances stop {vm.instance} --zone {vm.zone} --project {project}",
        "Once it is off and its lease has run out (3 minutes), the next run tidies up the rest.",
        "With this key, a job that was started is not started again:",
        f"  mayfly {receipt.mode} --key {receipt.run_key} {which}",
    ]
