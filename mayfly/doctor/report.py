"""What the doctor says: a line for each check, and under what is wrong what mends it."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.text import Text

from mayfly.doctor.examine import Examined
from mayfly.doctor.findings import Level

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red", Level.SKIPPED: "dim"}
_NAME_WIDTH = 18


def exit_code(examined: Sequence[Examined]) -> int:
    """0, unless something fails."""
    return int(any(one.finding.level is Level.FAIL for one in examined))


def as_one_line(examined: Sequence[Examined]) -> str:
    """JSON."""
    checks = [{"check": one.check, **asdict(one.finding)} for one in examined]
    return json.dumps({"healthy": not exit_code(examined), "checks": checks}, ensure_ascii=False)


def as_lines(examined: Sequence[Examined]) -> Iterator[Text]:
    """For a person."""
    for one in examined:
        finding = one.finding
        mark = Text(f"{finding.level:<8}", _STYLES[finding.level])
        says = Text(finding.says, "dim" if finding.level is Level.SKIPPED else "")
        yield mark + Text(f"{one.check:<{_NAME_WIDTH}}", "bold") + says
        indent = " " * (8 + _NAME_WIDTH)
        if finding.mend:
            yield Text(f"{indent}{finding.mend}", "cyan")
        if finding.command:
            yield Text(f"{indent}$ {finding.command}")
    counted = Counter(one.finding.level for one in examined)
    told = [
        f"{counted[level]} {level}" for level in (Level.FAIL, Level.WARN, Level.OK, Level.SKIPPED) if counted[level]
    ]
    yield Text(", ".join(told))
