"""`make sim`: the whole enumeration; `make sim SEED=7` or `make sim SCHEDULE=12:lost` shows one schedule as it went."""

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.simulation import mutants
from tests.simulation.faults import Schedule, of_seed, parsed
from tests.simulation.search import (
    Found,
    doubles,
    first_found,
    hunting_ground,
    nominal_requests,
    search,
    seeds,
    simulation_of,
    singles,
)

SEEDS = 20_000
SHOWN = 20  # findings; beyond them there is one cause more often than not


def main() -> int:
    words = argparse.ArgumentParser(prog="make sim", description=__doc__)
    words.add_argument("--seed", type=int, help="show this one")
    words.add_argument("--schedule", help="show this one, such as 12:lost,15:crash-after")
    words.add_argument("--seeds", type=int, default=SEEDS, help="how many random schedules to run")
    words.add_argument("--doubles", type=int, help="only so many pairs of faults")
    words.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    words.add_argument("--mutant", choices=mutants.MUTANTS, help="with this bug switched on; ends when it is found")
    said = words.parse_args()
    console = Console()
    if said.seed is not None or said.schedule is not None:
        return show(of_seed(said.seed) if said.seed is not None else parsed(said.schedule), console, said.mutant)
    requests = nominal_requests()
    if said.mutant:
        found = first_found(hunting_ground(requests, said.mutant), said.mutant)
        console.print(f"{found[0]}\nfound in {found[2]:.1f} s, by schedule {found[1]}" if found else "never found")
        return 0 if found else 1
    every = sum(1 for _ in doubles(requests)) if said.doubles is None else said.doubles
    parts: list[tuple[str, Iterable[Schedule], int]] = [
        ("single faults", singles(requests), len(singles(requests))),
        ("seeds", seeds(0, said.seeds), said.seeds),
        ("double faults", itertools.islice(doubles(requests), every), every),
    ]
    findings = [found for part in parts for found in _run(*part, said.cores, console)]
    for one in findings[:SHOWN]:
        console.print(str(one), style="red", markup=False, highlight=False)
    return 1 if findings else 0


def _run(name: str, schedules: Iterable[Schedule], total: int, cores: int, console: Console) -> list[Found]:
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                   TextColumn("{task.fields[rate]}"), console=console)  # fmt: skip
    findings: list[Found] = []
    cuts, idle, began = 0, 0.0, time.monotonic()
    with bar:
        task = bar.add_task(name, total=total, rate="")
        for done, outcome in enumerate(search(schedules, cores), start=1):
            cuts, idle = cuts + outcome.late_cuts, max(idle, outcome.idle_seconds)
            findings += [outcome.found] if outcome.found else []
            rate = done / (time.monotonic() - began)
            bar.update(task, completed=done, rate=f"{rate:.0f}/s, {len(findings)} found")
    console.print(f"{name}: {total} schedules, {len(findings)} broke a promise; {cuts} runs were cut by a stop "
                  f"that came too late, at most {idle:.0f} s were billed idle")  # fmt: skip
    return findings


def show(schedule: Schedule, console: Console, mutant: str | None = None) -> int:
    """One schedule, line by line."""
    simulation, problem = simulation_of(schedule), None
    try:
        with mutants.switched_on(mutant):
            simulation.run()
    except Exception as wrong:  # noqa: BLE001 - it is shown
        problem = wrong
    for at, kind, text in simulation.observer.trace:
        console.print(f"{at:%H:%M:%S}.{at.microsecond // 1000:03} {kind:10} {text}", markup=False, highlight=False)
    requests, seconds = simulation.network.requests, simulation.loop.time()
    console.print(f"{schedule}: {requests} requests in {seconds:.0f} virtual seconds")
    if problem is not None:
        console.print(f"{type(problem).__name__}: {problem}", style="bold red", markup=False)
    return 0 if problem is None else 1


if __name__ == "__main__":
    sys.exit(main())
