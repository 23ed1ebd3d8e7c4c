"""The receipt of a sweep: all that goes to stdout. JSON for programs, a table for people."""

from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.notice import sweep_sentence, sweep_severity, vm_page
from orchestrator.swept import Finding, Standing, SweepReceipt
from orchestrator.telemetry import json_line

_STYLES = {Standing.AT_REST: "dim", Standing.HELD: "dim", Standing.LIVE: "green", Standing.GONE: "dim"}


def as_json(receipt: SweepReceipt, stream: TextIO, *, for_cloud_logging: bool = False) -> str:
    """One line for the stream. Cloud Logging also gets what it shows of an entry: `severity` and `message`."""
    fields = _fields(receipt)
    if for_cloud_logging:
        fields = {"severity": sweep_severity(receipt), "message": sweep_sentence(receipt), **fields}
    return json_line(fields, stream)


def show(receipt: SweepReceipt, console: Console) -> None:
    """Print the receipt for a person; what is owed comes last, where it is seen."""
    table = Table(box=None, pad_edge=False)
    for name in ("", "place", "is", "why", "would do" if receipt.dry_run else "done"):
        table.add_column(name, overflow="fold")
    for finding in receipt.findings:
        style = "bold red" if finding.owed and not receipt.dry_run else _STYLES.get(finding.standing, "yellow")
        moves = ", ".join(finding.moves)
        table.add_row(
            *(Text(text) for text in (finding.name, finding.place, finding.standing, finding.why, moves)), style=style
        )
    if receipt.findings:
        console.print(table)
    console.print(Text(sweep_sentence(receipt)), highlight=False)
    if receipt.owed and not receipt.dry_run:
        console.print(Text(" CLEAN-UP OWED: look at these, or sweep again ", style="bold white on red"))
        for finding in receipt.findings:
            if finding.owed:
                page = vm_page(receipt.project, finding.place, finding.name)
                console.print(f"  {page}", soft_wrap=True, highlight=False, markup=False)


def _fields(receipt: SweepReceipt) -> dict[str, Any]:
    return {
        "project": receipt.project,
        "zone": receipt.zone,
        "started_at": receipt.started_at.isoformat(timespec="milliseconds"),
        "dry_run": receipt.dry_run,
        "called_off": receipt.called_off,
        "exit_code": int(receipt.exit_code),
        "cleanup": "owed" if receipt.owed else "confirmed",
        "findings": [_finding(finding) for finding in receipt.findings],
        "unseen": list(receipt.unseen),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    phases = [
        {
            "name": phase.name,
            "started": phase.started.isoformat(timespec="milliseconds"),
            "seconds": round(phase.seconds, 3),
        }
        for phase in finding.phases
    ]
    return {**vars(finding), "moves": list(finding.moves), "phases": phases}
