"""startup.sh: which user jobs are to be, and what is made for it. The programs that make users are stand-ins."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = (Path(__file__).parents[3] / "startup.sh").read_text()
FUNCTIONS = SCRIPT.removesuffix("main\n")
USER = "--system --create-home --home-dir /var/lib/{0} --shell /usr/sbin/nologin {0}"


def what_is_made(
    folder: Path, attribute: str, *, root: str = "", users: str = "", groups: str = ""
) -> tuple[str, list[str]]:
    """The user's name, and the commands that were called, where `users` and `groups` exist already."""
    for name, body in {
        "useradd": 'echo useradd "$@" >>"$CALLED"',
        "usermod": 'echo usermod "$@" >>"$CALLED"',
        "id": '[[ " $USERS " == *" $2 "* ]]',
        "getent": '[[ " $GROUPS_THERE " == *" $2 "* ]]',
    }.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    (folder / "called").touch()
    (folder / "run").mkdir()
    script = f"{FUNCTIONS}\nattribute() {{ echo '{attribute}'; }}\nerrors={folder}/errors\njob_user"
    script = script.replace("readonly errors=", "errors=")
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "CALLED": str(folder / "called"), "USERS": users}
    environment |= {"GROUPS_THERE": groups, "MAYFLY_ROOT": root}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip(), (folder / "called").read_text().splitlines()


@pytest.mark.parametrize(
    ("attribute", "there", "name", "made"),
    [
        ("", {}, "mayfly-job", [f"useradd {USER.format('mayfly-job')}"]),
        ("trader", {}, "trader", [f"useradd {USER.format('trader')}"]),
        ("", {"users": "root mayfly-job"}, "mayfly-job", []),
        ("", {"users": "mayfly-job", "groups": "video"}, "mayfly-job", ["usermod -aG video mayfly-job"]),
        ("root", {"users": "root", "groups": "video render"}, "root", []),
    ],
)
def test_jobs_are_a_user_of_their_own_who_may_use_the_gpu(
    tmp_path: Path, attribute: str, there: dict[str, str], name: str, made: list[str]
) -> None:
    assert what_is_made(tmp_path, attribute, **there) == (name, made)


@pytest.mark.parametrize("attribute", ["", "trader"])
def test_an_emulated_machine_makes_no_users_on_the_one_that_it_runs_on(tmp_path: Path, attribute: str) -> None:
    assert what_is_made(tmp_path, attribute, root=str(tmp_path)) == (attribute, [])
