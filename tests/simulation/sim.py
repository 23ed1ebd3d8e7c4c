"""`make sim`: every single fault, every event, every pair of faults, seeds, purchases; or one schedule, with its trace.

python -m tests.simulation.sim [--seeds N] [--doubles N] [--trading N] [--seed N | --schedule LINE]
"""

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.simulation import enumeration, purchases
from tests.simulation.observer import NOT_YET
from tests.simulation.schedule import Schedule, parse
from tests.simulation.simulate import play

CHUNK = 50
SEEDS = 20_000

console = Console()


def main() -> int:
    """Play them; 1 if a promise was broken."""
    arguments = _arguments()
    logging.disable(logging.CRITICAL)
    if arguments.schedule is not None or arguments.seed is not None:
        return _replay(enumeration.of_seed(arguments.seed) if arguments.schedule is None else parse(arguments.schedule))
    doubles = enumeration.double_count() if arguments.doubles is None else arguments.doubles
    parts = [
        ("single faults", len(enumeration.singles()), iter(enumeration.singles())),
        ("events", len(enumeration.happenings()), iter(enumeration.happenings())),
        ("called off", len(enumeration.called_off_while_unanswered()), iter(enumeration.called_off_while_unanswered())),
        ("double faults", doubles, islice(enumeration.doubles(), doubles)),
        ("seeds", arguments.seeds, map(enumeration.of_seed, range(arguments.seeds))),
    ]
    count = purchases.SCHEDULES if arguments.trading is None else arguments.trading
    trading = ("purchases", count, map(purchases.of_seed, range(count)))
    return _play_all([*parts, trading] if arguments.trading is None else [trading])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how many seeds ({SEEDS})")
    parser.add_argument("--doubles", type=int, help="how many of the pairs of faults (all)")
    parser.add_argument("--trading", type=int, metavar="N", help="so many purchases, and nothing else")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--seed", type=int, help="replay what this seed makes")
    one.add_argument("--schedule", help="replay this one: '12:lost @35:preempted seed=7'")
    return parser.parse_args()


def _replay(schedule: Schedule) -> int:
    played = play(schedule)
    console.print(f"{schedule}\n", markup=False, highlight=False)
    console.print(str(played), markup=False, highlight=False, soft_wrap=True)
    for name, count in played.excused.items():
        console.print(f"\nnot promised yet ({count}): {name}: {NOT_YET[name]}", markup=False)
    console.print("\nevery promise was kept" if not played.violations else "\nBROKEN", markup=False)
    return int(bool(played.violations))


def _play_all(parts: list[tuple[str, int, Iterator[Schedule]]]) -> int:
    began, count = time.monotonic(), 0
    broken: list[tuple[str, str]] = []
    excused: Counter[str] = Counter()
    columns = (TextColumn("{task.description:14}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress, ProcessPoolExecutor() as pool:
        for name, total, schedules in parts:
            task = progress.add_task(name, total=total)
            for lines in _batches(_chunks(schedules), 64):
                for played, wrong, owed in pool.map(_play_chunk, lines):
                    count += played
                    broken += wrong
                    excused.update(owed)
                    progress.advance(task, played)
    seconds = time.monotonic() - began
    for line, what in broken:
        console.print(f"BROKEN {what}\n  make sim SCHEDULE='{line}'", markup=False, soft_wrap=True)
    for name, times in excused.items():
        console.print(f"not promised yet, {times} times: {name}: {NOT_YET[name]}", markup=False)
    console.print(f"{count} schedules in {seconds:.0f} s, {count / seconds:.0f} schedules/s, {len(broken)} broken")
    return int(bool(broken))


def _play_chunk(lines: list[str]) -> tuple[int, list[tuple[str, str]], Counter[str]]:
    """In a process of its own: (how many, the broken ones with their first violation, what was excused)."""
    logging.disable(logging.CRITICAL)
    broken, excused = [], Counter[str]()
    for line in lines:
        try:
            played = play(parse(line))
        except Exception as mistake:  # noqa: BLE001 - a schedule that cannot be played is a finding too
            broken.append((line, repr(mistake)))
            continue
        excused.update(played.excused)
        if played.violations:
            broken.append((line, str(played.violations[0])))
    return len(lines), broken, excused


def _chunks(schedules: Iterable[Schedule]) -> Iterator[list[str]]:
    left = iter(schedules)
    while chunk := [str(schedule) for schedule in islice(left, CHUNK)]:
        yield chunk


def _batches(chunks: Iterator[list[str]], size: int) -> Iterator[list[list[str]]]:
    while batch := list(islice(chunks, size)):
        yield batch


if __name__ == "__main__":
    sys.exit(main())
