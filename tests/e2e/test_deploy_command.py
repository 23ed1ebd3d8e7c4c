"""`mayfly init`, `deploy`, `run` and `destroy` as a user types them, in a project with nothing in it."""

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gcp_emulator.emulator import Emulator
from gcp_emulator.exports import DEMO_IMAGE, demo_exports, exports
from gcp_emulator.seed import PERSON, caller_email, empty_seed
from tests.contract.world import Running, running
from tests.journeys.lab import CHECKOUT, starts_the_agent

READABLE = [CHECKOUT, Path(sys.prefix), Path(sys.base_prefix)]
VALUE = "hunter2-hunter2"


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Running]:
    """A project as Google hands it over; whatever was made, in the end it is off."""
    with running(lambda: Emulator(seed=empty_seed(), folder=tmp_path / "disks", readable=READABLE)) as port:
        cloud = Running(port)
        yield cloud
        listed = httpx.get(f"{cloud.url}/compute/v1/projects/demo/zones/us-central1-a/instances").json()
        assert {vm["status"] for vm in listed.get("items", [])} <= {"TERMINATED"}, "a VM was left on"
        assert cloud.history("violation") == []


class Shell:
    """A folder, and commands in it; standard input is no terminal unless one is given."""

    def __init__(self, cloud: Running, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "HOME": str(folder)}
        self.environment |= exports(cloud.port) | demo_exports() | {"TIMEOUT": "60s"}

    def mayfly(self, *arguments: str, stdin: str = "", **variables: str) -> "subprocess.CompletedProcess[str]":
        environment = self.environment | variables
        command = [sys.executable, "-m", "mayfly", *arguments]
        return subprocess.run(
            command,
            input=stdin,
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def at_terminal(self, *arguments: str, typing: str) -> tuple[int, str]:
        """With somebody there who types that; what they see."""
        ours, theirs = os.openpty()
        command = [sys.executable, "-m", "mayfly", *arguments]
        with subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=self.environment, cwd=self.folder
        ) as process:
            os.close(theirs)
            os.write(ours, typing.encode())
            seen = b""
            while True:
                try:
                    some = os.read(ours, 65536)
                except OSError:  # the other end is closed
                    break
                seen += some
        os.close(ours)
        return process.returncode, seen.decode()


@pytest.fixture
def shell(empty: Running, tmp_path: Path) -> Shell:
    return Shell(empty, tmp_path / "cwd")


def test_init_deploy_run_and_destroy_from_nothing_to_nothing(empty: Running, shell: Shell) -> None:
    assert shell.mayfly("init", "--yes").returncode == 0
    callers = f"{PERSON},{caller_email('demo')}"
    script = starts_the_agent(MAYFLY_CALLERS=callers)  # in place of ours, which fetches and installs for half a minute
    script_in_its_place = {"MAYFLY_VM_METADATA": json.dumps({"startup-script": script})}
    planned = shell.mayfly("deploy", "--dry-run", **script_in_its_place)
    assert planned.returncode == 0
    assert "+ VM                            gpu-vm" in planned.stdout
    assert not any(verb.endswith((".create", ".insert")) for verb in empty.verbs())
    first = shell.mayfly("deploy", **script_in_its_place)
    assert (first.returncode, "17 made, 1 changed" in first.stdout) == (0, True), first.stderr
    assert "[18/18] + permissions on the job mayfly" in first.stderr
    second = shell.mayfly("deploy", **script_in_its_place)
    assert second.stdout == "Nothing to do; 18 are as it should be.\n"
    for where in ([], ["--remote"]):
        ran = shell.mayfly("run", "main:run", *where)
        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout)["cleanup"] == "confirmed"
    assert empty.verbs().count("run.jobs.run") == 1
    assert shell.mayfly("deploy", "--json", **script_in_its_place).stdout.startswith(
        '{"project": "demo", "done": false'
    )
    refused = shell.mayfly("destroy")
    assert (refused.returncode, "--yes removes all of it" in refused.stderr) == (2, True)
    gone = shell.mayfly("destroy", "--yes")
    assert (gone.returncode, gone.stdout) == (0, "17 removed.\n"), gone.stderr
    assert shell.mayfly("destroy", "--yes").stdout == "Nothing to do; 17 are not there.\n"


def test_init_never_writes_over_a_file_unasked(shell: Shell) -> None:
    (shell.folder / "mayfly.toml").write_text("# mine\n")
    refused = shell.mayfly("init", "--yes")
    assert (refused.returncode, "was left as it is" in refused.stderr) == (2, True), refused.stderr
    code, seen = shell.at_terminal("init", typing="n\n")
    assert (code, "Write over it?" in seen) == (2, True)
    assert (shell.folder / "mayfly.toml").read_text() == "# mine\n"
    assert shell.mayfly("init", "--yes", "--force").returncode == 0
    assert "project_id" in (shell.folder / "mayfly.toml").read_text()


def test_init_asks_at_a_terminal_and_needs_yes_where_there_is_nobody(shell: Shell) -> None:
    assert shell.mayfly("init").returncode == 2
    answers = ["", "", "my-vm", "", "", "2h", "", "", "", "30 6 * * *", "Asia/Seoul"]
    code, seen = shell.at_terminal("init", typing="\n".join(answers) + "\n")
    assert code == 0, seen
    assert "The project's id [demo]" in seen
    text = (shell.folder / "mayfly.toml").read_text()
    assert all(line in text for line in ('instance = "my-vm"', 'timeout = "2h"', 'cron = "30 6 * * *"'))


def test_who_says_no_to_the_plan_keeps_everything_as_it_is(empty: Running, shell: Shell) -> None:
    shell.mayfly("init", "--yes")
    code, seen = shell.at_terminal("deploy", typing="n\n")
    assert (code, "Do this in demo?" in seen) == (0, True), seen
    assert "Project demo, zone us-central1-a:" in seen
    assert "+ service account" in seen
    assert not any(verb.endswith((".create", ".insert", ".batchEnable")) for verb in empty.verbs())


def test_who_destroys_is_told_of_which_project_and_which_ip_before_the_answer(empty: Running, shell: Shell) -> None:
    shell.mayfly("init", "--yes")
    assert shell.mayfly("deploy").returncode == 0
    before = empty.verbs()
    code, seen = shell.at_terminal("destroy", typing="n\n")
    assert code == 0, seen
    assert "Project demo, zone us-central1-a:" in seen
    assert "Remove all this from demo," in seen
    assert "the IP gpu-ip for good?" in seen
    assert shell.mayfly("destroy", "--dry-run").stdout.startswith("Project demo, zone us-central1-a:\n")
    assert not any(verb.endswith((".delete", ".setIamPolicy")) for verb in empty.verbs()[len(before) :])


def test_a_secrets_value_comes_by_standard_input_and_is_told_to_nobody_but_google(empty: Running, shell: Shell) -> None:
    shell.mayfly("init", "--yes")
    toml = shell.folder / "mayfly.toml"
    toml.write_text(toml.read_text().replace("# secrets = {}", 'secrets = { KEY = "exchange" }', 1))
    unseen = shell.mayfly("deploy", "--secret", "exchange=-", stdin=f"{VALUE}\n")
    assert (unseen.returncode, "more to do than the secret" in unseen.stderr) == (2, True), unseen.stderr
    assert "+ VM " in unseen.stderr, "what it would have done is told"
    assert not any(verb.endswith((".create", ".insert", ".batchEnable")) for verb in empty.verbs())
    filled = shell.mayfly("deploy", "--yes", "--secret", "exchange=-", stdin=f"{VALUE}\n")
    assert filled.returncode == 0, filled.stderr
    assert "+ value of the secret exchange" in filled.stderr
    access = f"{empty.url}/v1/projects/demo/secrets/exchange/versions/latest:access"
    assert httpx.get(access).json()["payload"]["data"] == "aHVudGVyMi1odW50ZXIy"
    assert VALUE not in filled.stdout + filled.stderr
    changed = shell.mayfly("deploy", "--secret", "exchange=-", stdin="another\n")
    assert (changed.returncode, changed.stdout.startswith("1 made;")) == (0, True), changed.stderr
    assert base64.b64decode(httpx.get(access).json()["payload"]["data"]) == b"another"
    for wrong in (["exchange=hunter2"], ["exchange=-", "--secret", "other=-"]):
        refused = shell.mayfly("deploy", "--secret", *wrong, stdin="x")
        assert (refused.returncode, "never from the arguments" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("[vm]\ndisk_gb = 'lots'", 2, "[vm] disk_gb"),
        ("[vm", 2, "mayfly.toml cannot be read"),
        ("project = 'x'", 2, "no setting: project"),
    ],
)
def test_a_file_that_is_wrong_is_exit_2_and_nothing_is_asked_of_google(
    empty: Running, shell: Shell, line: str, code: int, said: str
) -> None:
    (shell.folder / "mayfly.toml").write_text(f"{line}\n")
    refused = shell.mayfly("deploy")
    assert (refused.returncode, said in refused.stderr) == (code, True), refused.stderr
    assert empty.verbs() == []


def test_who_interrupts_a_deploy_is_told_that_it_goes_on_from_there(empty: Running, shell: Shell) -> None:
    shell.mayfly("init", "--yes")
    empty.fault(on="iam.roles.create", late={"seconds": 2})
    command = [sys.executable, "-m", "mayfly", "deploy"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=shell.environment, cwd=shell.folder
    ) as process:
        assert process.stderr is not None
        assert any("+ role mayflyOrchestrator" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        assert "goes on from there" in process.stderr.read()
        assert process.wait(60) == 143
    assert "1 changed" not in shell.mayfly("deploy").stdout
    assert shell.mayfly("deploy").stdout.startswith("Nothing to do;")
    assert empty.verbs().count("iam.roles.create") == 2


def test_what_google_refuses_is_exit_3(empty: Running, shell: Shell) -> None:
    shell.mayfly("init", "--yes")
    empty.fault(on="artifactregistry.repositories.create", reply={"status": 403, "message": "no"})
    failed = shell.mayfly("deploy")
    assert failed.returncode == 3
    assert "Step 2 of 18 failed (make the Artifact Registry repository mayfly)" in failed.stderr
    assert shell.mayfly("deploy").returncode == 0
    assert DEMO_IMAGE in str(httpx.get(f"{empty.url}/v2/projects/demo/locations/us-central1/jobs/mayfly").json())
