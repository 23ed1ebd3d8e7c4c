"""`make sim`: every single fault, event, sweep and pair of faults, crowds, seeds, purchases; or one, with its trace.

python -m tests.simulation.sim [--only PART] [--seeds N] [--doubles N] [--purchases N] [--seed N | --schedule LINE]
"""

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice, product

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from tests.simulation import enumeration, made, purchases
from tests.simulation.observer import NOT_PROMISED
from tests.simulation.schedule import CROWDS, Schedule, parse
from tests.simulation.simulate import play

CHUNK = 50
MADE_DOUBLES = 2000  # a fixed sample of the pairs of faults, for VMs that are made for their run
SEEDS = 20_000
CROWDED_SEEDS = 20

Part = tuple[int, Iterable[Schedule]]  # how many there are, and they

console = Console()


@dataclass
class Tally:
    """What came of some schedules."""

    played: int = 0
    swept: int = 0  # in which a sweep had to act
    idle_seconds: float = 0.0  # billed in one go at most, with no run live
    seconds: float = 0.0
    broken: list[tuple[str, str]] = field(default_factory=list)  # the schedule, and its first violation
    excused: Counter[str] = field(default_factory=Counter)  # by the names of observer.NOT_PROMISED

    def add(self, other: "Tally") -> None:
        """Take these in; `seconds` is not theirs to add: they ran side by side."""
        self.played, self.swept = self.played + other.played, self.swept + other.swept
        self.idle_seconds = max(self.idle_seconds, other.idle_seconds)
        self.broken += other.broken
        self.excused += other.excused


class Speed(ProgressColumn):
    """Schedules per second."""

    def render(self, task: Task) -> Text:
        """Since it began."""
        return Text(f"{task.completed / task.elapsed:.0f}/s" if task.elapsed else "")


def main() -> int:
    """Play them; 1 if a promise was broken."""
    arguments = _arguments()
    logging.disable(logging.CRITICAL)
    if arguments.schedule is not None or arguments.seed is not None:
        return _replay(enumeration.of_seed(arguments.seed) if arguments.schedule is None else parse(arguments.schedule))
    wanted = arguments.only or list(PARTS)
    return _play_all([(name, *make(arguments)) for name, make in PARTS.items() if name in wanted])


def _all(schedules: list[Schedule]) -> Part:
    return len(schedules), schedules


def _doubles(arguments: argparse.Namespace) -> Part:
    if arguments.doubles is None:
        return enumeration.double_count(), enumeration.doubles()
    return _all(enumeration.some_doubles(arguments.doubles))


PARTS: dict[str, Callable[[argparse.Namespace], Part]] = {
    "singles": lambda _: _all(enumeration.singles()),
    "events": lambda _: _all(enumeration.happenings()),
    "called-off": lambda _: _all(enumeration.called_off_while_unanswered()),
    "crashes": lambda _: _all(enumeration.crash_after_crash()),
    "left-behind": lambda _: _all(enumeration.abandoned()),
    "faulty-sweeps": lambda _: (enumeration.swept_count(), enumeration.swept_under_faults()),
    "twenty": lambda _: _all([enumeration.crowded(*one) for one in product(range(CROWDED_SEEDS), CROWDS)]),
    "doubles": _doubles,
    "seeds": lambda given: (given.seeds, map(enumeration.of_seed, range(given.seeds))),
    "made": lambda _: _all(
        [*made.singles(), *made.called_off_while_unanswered(), *made.happenings(), *made.left_behind()]
    ),
    "made-doubles": lambda _: _all(made.some_doubles(MADE_DOUBLES)),
    "made-seeds": lambda given: (given.seeds, made.seeds(given.seeds)),
    "purchases": lambda given: (given.purchases, map(purchases.of_seed, range(given.purchases))),
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how many seeds ({SEEDS})")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; may be given again (all of them)")
    parser.add_argument("--doubles", type=int, help="how many of the pairs of faults, a fixed sample (all)")
    count = purchases.SCHEDULES
    parser.add_argument("--purchases", type=int, default=count, help=f"how many purchases by the trading job ({count})")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--seed", type=int, help="replay what this seed makes")
    one.add_argument("--schedule", help="replay this one: '12:lost @35:preempted seed=7'")
    return parser.parse_args()


def _replay(schedule: Schedule) -> int:
    played = play(schedule)
    console.print(f"{schedule}\n", markup=False, highlight=False)
    console.print(str(played), markup=False, highlight=False, soft_wrap=True)
    console.print(f"\nbilled and idle in one go: {played.idle_seconds:.0f} s at most", markup=False, highlight=False)
    for name, count in played.excused.items():
        console.print(f"not promised ({count}): {name}: {NOT_PROMISED[name]}", markup=False)
    console.print("every promise was kept" if not played.violations else "BROKEN", markup=False)
    return int(bool(played.violations))


def _play_all(parts: list[tuple[str, int, Iterable[Schedule]]]) -> int:
    columns = (TextColumn("{task.description:14}"), BarColumn(), MofNCompleteColumn(), Speed(), TimeRemainingColumn())
    tallies: dict[str, Tally] = {}
    with Progress(*columns, console=console) as progress, ProcessPoolExecutor() as pool:
        for name, total, schedules in parts:
            task, tally, began = progress.add_task(name, total=total), Tally(), time.monotonic()
            for batch in _batches(_chunks(schedules), 64):
                for some in pool.map(_play_chunk, batch):
                    tally.add(some)
                    progress.advance(task, some.played)
            tally.seconds, tallies[name] = time.monotonic() - began, tally
    return _report(tallies)


def _report(tallies: dict[str, Tally]) -> int:
    everything = Tally()
    table = Table("", "schedules", "broken", "swept", "idle s at most", "schedules/s")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, tally in tallies.items():
        everything.add(tally)
        everything.seconds += tally.seconds
        table.add_row(*_row(name, tally))
    table.add_section()
    table.add_row(*_row("all", everything))
    console.print(table)
    for line, what in everything.broken:
        console.print(f"BROKEN {what}\n  make sim SCHEDULE='{line}'", markup=False, soft_wrap=True)
    for name, times in everything.excused.items():
        console.print(f"not promised, {times} times: {name}: {NOT_PROMISED[name]}", markup=False)
    return int(bool(everything.broken))


def _row(name: str, tally: Tally) -> tuple[str, ...]:
    speed = tally.played / tally.seconds if tally.seconds else 0.0
    figures = (tally.played, len(tally.broken), tally.swept, round(tally.idle_seconds), round(speed))
    return (name, *(f"{figure:,}" for figure in figures))


def _play_chunk(lines: list[str]) -> Tally:
    """In a process of its own."""
    logging.disable(logging.CRITICAL)
    tally = Tally()
    for line in lines:
        tally.played += 1
        try:
            played = play(parse(line))
        except Exception as mistake:  # noqa: BLE001 - a schedule that cannot be played is a finding too
            tally.broken.append((line, repr(mistake)))
            continue
        tally.swept += played.swept
        tally.idle_seconds = max(tally.idle_seconds, played.idle_seconds)
        tally.excused.update(played.excused)
        if played.violations:
            tally.broken.append((line, str(played.violations[0])))
    return tally


def _chunks(schedules: Iterable[Schedule]) -> Iterator[list[str]]:
    left = iter(schedules)
    while chunk := [str(schedule) for schedule in islice(left, CHUNK)]:
        yield chunk


def _batches(chunks: Iterator[list[str]], size: int) -> Iterator[list[list[str]]]:
    while batch := list(islice(chunks, size)):
        yield batch


if __name__ == "__main__":
    sys.exit(main())
