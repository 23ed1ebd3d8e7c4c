"""The user's own `main.py`, as the agent finds it: what the journeys run on the emulated VM."""

import subprocess
import time
from pathlib import Path

import psutil

from vm_agent.job import Context


def run() -> dict[str, str]:
    print("trading for real")
    return {"order": "placed"}


def test() -> dict[str, str]:
    print("rehearsing")
    return {"order": "rehearsed"}


def what_time_is_it() -> float:
    return time.time()


def fail() -> None:
    print("about to fail")
    raise ValueError("no such coin")


def outlast(context: Context) -> None:
    """Works until the file that the test makes is there."""
    print("at work", flush=True)
    released = Path(context.params["until"])
    while not released.exists():
        time.sleep(0.02)


def for_ever() -> None:
    while True:
        time.sleep(3600)


def five_minutes(context: Context) -> str:
    for second in range(300):
        context.progress(second / 300, f"second {second}")
        time.sleep(1)
    return "five minutes later"


def with_artifacts(context: Context) -> str:
    (context.artifacts / "deep").mkdir()
    (context.artifacts / "deep" / "model.bin").write_bytes(bytes(range(256)) * 4096)
    (context.artifacts / "notes.txt").write_text("half a character: é\n", encoding="utf-8")
    context.progress(0.5, "half way")
    print("written", flush=True)
    return "two files"


def kill_the_agent() -> None:
    """The agent dies under the run, as by the OOM killer. Between it and the job is the run's keeper."""
    keeper = psutil.Process().parent()
    agent = keeper and keeper.parent()
    assert agent is not None
    agent.kill()
    time.sleep(3600)


def with_a_large_file(context: Context) -> None:
    with (context.artifacts / "model.bin").open("wb") as file:
        file.truncate(300 << 20)


def power_off() -> None:
    """The VM goes off under the run."""
    subprocess.run(["poweroff"], check=True)
    time.sleep(3600)
