"""Put each named bug in, one at a time, and see which test finds it: python -m tests.mutants [part of a name]."""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.named import BUGS, Bug

ROOT = Path(__file__).parents[2]
COPIED = ("orchestrator", "vm_agent", "gcp_emulator", "mayfly", "tests", "docs")
FILES = ("pyproject.toml", "startup.sh", "README.md")
SECONDS_MAX = 600  # a bug may make a test hang: that is a way to be found


def main(words: list[str]) -> int:
    """The number of bugs that nobody found."""
    wanted = [bug for bug in BUGS if " ".join(words) in bug.name]
    survived = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = _copied_to(Path(folder))
        for tests in sorted({bug.tests for bug in wanted}):
            if (killer := _found_by(copy, tests)) is not None:
                sys.exit(f"{killer} fails without any bug")
        for bug in wanted:
            began = time.monotonic()
            killer = _with(bug, copy)
            survived += killer is None
            sys.stdout.write(f"{'SURVIVED' if killer is None else 'found   '} {bug.name}\n")
            sys.stdout.write(f"         {killer or bug.tests} ({time.monotonic() - began:.1f} s)\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(wanted) - survived} of {len(wanted)} found\n")
    return survived


def _copied_to(folder: Path) -> Path:
    unwanted = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    return folder


def _with(bug: Bug, copy: Path) -> str | None:
    file = copy / bug.file
    source = file.read_text(encoding="utf-8")
    file.write_text(source.replace(bug.old, bug.new), encoding="utf-8")
    try:
        return _found_by(copy, bug.tests)
    finally:
        file.write_text(source, encoding="utf-8")


def _found_by(copy: Path, tests: str) -> str | None:
    """The first test that fails."""
    files = [f"tests/{test}" for test in tests.split()]
    command = [
        sys.executable,
        "-B",
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "--hypothesis-seed=0",
        *files,
    ]
    try:
        ended = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False, timeout=SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return "a test that never ends"
    found = re.search(r"(?m)^(?:FAILED|ERROR) (.+?)(?: - |$)", ended.stdout)
    return None if ended.returncode == 0 else found[1] if found else f"pytest: {ended.stdout[-400:]}"


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
