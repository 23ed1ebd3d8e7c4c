"""The real command, as a process: what it says about wrong words, and what it does not load."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
GOOD = {"PROJECT_ID": "my-project", "ZONE": "us-central1-a", "INSTANCE": "gpu-vm", "STATIC_NAME": "gpu-ip"}


def mayfly(*words: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "HOME": str(folder)} | variables
    command = [sys.executable, "-m", "mayfly", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "nonsense"], "is no job. Write module:function"),
        (["run", "image:"], "names no image"),
        (["run", "main:run", "--", "ls"], "not both"),
        (["run", "--"], "comes the command to run"),
        (["run", "--set", "a"], "name=value"),
        (["run", "--params", "/nowhere.json"], "No such file"),
        (["run", "--key", "a b"], "--key 'a b'"),
        (["run", "--timeout", "3y"], "TIMEOUT=3y is not a duration"),
        (["test", "--zone", "moon"], "ZONE=moon is not a zone"),
        (["run", "--out", "/etc/passwd"], "it is no folder"),
        (["run", "--bogus"], "No such option: --bogus"),
        (["fly"], "No such command 'fly'"),
        (["emulator", "--", "ls"], "Only `mayfly run` and `mayfly test`"),
        (["emulator", "--latency", "slow"], "instant, brisk, realistic"),
        (["emulator", "--latency-file", "/nowhere.toml"], "No such file"),
        (["emulator", "--containers", "podman"], "--containers podman: there are process and docker"),
    ],
)
def test_wrong_words_are_a_sentence_and_exit_2(tmp_path: Path, words: list[str], sentence: str) -> None:
    ended = mayfly(*words, folder=tmp_path, **GOOD)
    assert ended.returncode == 2
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_settings_that_are_missing_are_all_named_and_the_way_without_google_too(tmp_path: Path) -> None:
    ended = mayfly("run", folder=tmp_path)
    assert ended.returncode == 2
    assert all(name in ended.stderr for name in (*GOOD, "mayfly emulator --demo"))


@pytest.mark.parametrize(
    ("host", "sentence"), [("127.0.0.1:1", "Nothing answers at"), ("nonsense", "must be host:port")]
)
def test_an_emulator_that_is_not_there_is_a_sentence_and_exit_2(tmp_path: Path, host: str, sentence: str) -> None:
    ended = mayfly("run", folder=tmp_path, COMPUTE_EMULATOR_HOST=host, **GOOD)
    assert ended.returncode == 2
    assert sentence in ended.stderr


def test_on_cloud_run_a_wrong_setting_is_one_log_entry(tmp_path: Path) -> None:
    ended = mayfly("run", folder=tmp_path, CLOUD_RUN_JOB="mayfly", **GOOD | {"ZONE": "moon"})
    assert ended.returncode == 2
    entry = json.loads(ended.stderr)
    assert entry["severity"] == "ERROR"
    assert "ZONE=moon" in entry["message"]


def test_a_default_job_that_is_none_is_told_before_anything_begins(tmp_path: Path) -> None:
    ended = mayfly("run", folder=tmp_path, MAYFLY_JOB="nonsense", **GOOD)
    assert ended.returncode == 2
    assert "is no job" in ended.stderr


def test_a_traceback_is_there_for_who_asks(tmp_path: Path) -> None:
    ended = mayfly("run", folder=tmp_path, MAYFLY_DEBUG="1")
    assert ended.returncode == 2
    assert "Traceback" in ended.stderr


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    ended = mayfly("--version", folder=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "mayfly 0.1.0\n")


def test_the_exports_are_what_a_shell_evaluates(tmp_path: Path) -> None:
    lines = mayfly("emulator", "env", "--port", "9000", folder=tmp_path).stdout.splitlines()
    assert "export COMPUTE_EMULATOR_HOST=127.0.0.1:9000" in lines
    assert "export PROJECT_ID=demo" in lines
    assert all(line.startswith("export ") for line in lines)


@pytest.mark.parametrize(
    ("words", "strangers"),
    [
        ("--help", {"google", "fastapi", "uvicorn", "httpx", "pydantic", "rich", "asyncio"}),
        ("emulator env", {"google", "httpx", "pydantic_settings", "orchestrator"}),
        ("emulator --latency-file /nowhere", {"google", "httpx", "pydantic_settings", "orchestrator"}),
        ("run nonsense", {"google", "fastapi", "uvicorn", "gcp_emulator"}),
        ("run --zone moon", {"google", "fastapi", "uvicorn", "gcp_emulator"}),
    ],
)
def test_a_command_loads_only_what_it_needs(tmp_path: Path, words: str, strangers: set[str]) -> None:
    script = (
        f"import sys; sys.argv[1:] = {words.split()!r}\n"
        "from mayfly.cli import main\n"
        "import os; os._exit = sys.exit\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)} | GOOD
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    loaded = set(ended.stderr.splitlines()[-1].split())
    assert "typer" in loaded
    assert not loaded & strangers
