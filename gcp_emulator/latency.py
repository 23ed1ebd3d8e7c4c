"""How long things take: three profiles, or a TOML file that changes some numbers of one.

base = "realistic"
stopping = [5, 8]       # seconds, from..to
metadata = 0.2          # or exactly
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from random import Random

Span = tuple[float, float]  # seconds, at least and at most

NONE: Span = (0.0, 0.0)


class BadLatencyError(ValueError):
    """The latency file names a profile or step that does not exist, or a span that is not one."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds that each step takes; the model draws from each span with its seeded random."""

    provisioning: Span = NONE
    staging: Span = NONE
    boot: Span = NONE  # RUNNING until the guest's first instruction
    stopping: Span = NONE  # the least that STOPPING lasts; a slow guest makes it longer
    reset: Span = NONE
    access_config: Span = NONE
    metadata: Span = NONE
    labels: Span = NONE
    scheduling: Span = NONE
    address: Span = NONE
    template: Span = NONE
    disk: Span = NONE
    firewall: Span = NONE
    service: Span = NONE  # an API is enabled
    repository: Span = NONE  # of Artifact Registry
    run_job: Span = NONE  # a job of Cloud Run that was written is ready
    task: Span = NONE  # an attempt is due until its container begins
    max_run_lateness: Span = NONE  # Google may begin the termination up to 30 s late

    def draw(self, step: str, random: Random) -> timedelta:
        """How long this step takes, this time."""
        low, high = getattr(self, step)
        return timedelta(seconds=low if low == high else random.uniform(low, high))


INSTANT = Latency()

# The demo: short, and still long enough to watch every state go by. Its boot is the guest's own.
BRISK = Latency(
    provisioning=(0.8, 1.0),
    staging=(1.9, 2.1),
    stopping=(2.3, 2.7),
    reset=(0.5, 0.7),
    access_config=(0.5, 0.7),
    metadata=(0.3, 0.5),
    labels=(0.3, 0.5),
    scheduling=(0.3, 0.5),
    address=(0.3, 0.5),
    template=(0.3, 0.5),
    disk=(0.3, 0.5),
    firewall=(0.3, 0.5),
    service=(0.5, 0.7),
    repository=(0.3, 0.5),
    run_job=(0.3, 0.5),
    task=(0.4, 0.6),
)

REALISTIC = Latency(
    provisioning=(2.0, 3.0),
    staging=(6.0, 9.0),
    boot=(15.0, 25.0),
    stopping=(20.0, 40.0),
    reset=(2.0, 5.0),
    access_config=(2.0, 4.0),
    metadata=(1.0, 4.0),
    labels=(1.0, 4.0),
    scheduling=(1.0, 4.0),
    address=(1.0, 3.0),
    template=(1.0, 3.0),
    disk=(1.0, 3.0),
    firewall=(5.0, 10.0),
    service=(3.0, 20.0),
    repository=(3.0, 8.0),
    run_job=(2.0, 5.0),
    task=(5.0, 15.0),
    max_run_lateness=(0.0, 30.0),
)

PROFILES: Mapping[str, Latency] = {"instant": INSTANT, "brisk": BRISK, "realistic": REALISTIC}


def latency_from_toml(text: str) -> Latency:
    """Read a latency file; steps it does not name keep the base profile's span (`instant` if no base is named)."""
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise BadLatencyError(f"the latency file is not TOML: {wrong}") from wrong
    base = settings.pop("base", "instant")
    if base not in PROFILES:
        raise BadLatencyError(f"no latency profile {base!r}; there are {', '.join(PROFILES)}")
    steps = {field.name for field in fields(Latency)}
    if unknown := settings.keys() - steps:
        raise BadLatencyError(f"no such step: {', '.join(sorted(unknown))}; there are {', '.join(sorted(steps))}")
    return replace(PROFILES[base], **{step: _span(step, value) for step, value in settings.items()})


def _span(step: str, value: object) -> Span:
    match value:
        case int() | float():
            low, high = float(value), float(value)
        case [int() | float() as first, int() | float() as last]:
            low, high = float(first), float(last)
        case _:
            raise BadLatencyError(f"{step} must be seconds or [least, most], not {value!r}")
    if not 0 <= low <= high:
        raise BadLatencyError(f"{step} must not be negative or run backwards: {value!r}")
    return low, high
