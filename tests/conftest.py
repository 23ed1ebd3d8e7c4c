"""What tests of every kind need of the machine."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import TestEngine, an_engine
from vm_agent.policy import RESERVE_BYTES

NOBODY = Path(__file__).with_name("nobody.pem")  # a certificate whose key was thrown away


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests tell with `record_property("told", ...)`, wherever they ran: xdist's workers have no terminal."""
    entries = [entry for some in terminalreporter.stats.values() for entry in some]  # what was deselected, too
    reports = [entry for entry in entries if isinstance(entry, pytest.TestReport) and entry.when == "call"]
    told = [text for report in reports for name, text in report.user_properties if name == "told"]
    if told:
        terminalreporter.section("told by the tests")
    for text in told:
        terminalreporter.write_line(str(text))


@pytest.fixture(autouse=True)
def trust_in_nobody(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All servers are on this machine. The Internet's authorities take 50 ms to load for each of thousands of clients.

    Those who install packages need them.
    """
    if request.path.parent.name not in {"e2e", "tests"}:
        monkeypatch.setenv("SSL_CERT_FILE", str(NOBODY))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for a few megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = f"size={RESERVE_BYTES * 4}"
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(
            "we may mount nothing here; to run this test: as root, in a container with `docker run --privileged`"
        )
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture(scope="session")
def docker_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestEngine]:
    """A machine with a real Docker Engine, for all tests of this process."""
    with an_engine(tmp_path_factory.mktemp("docker")) as engine:
        yield engine


@pytest.fixture
def engine(docker_machine: TestEngine) -> Iterator[TestEngine]:
    """It, and afterwards nothing may be left of any run."""
    yield docker_machine
    left = docker_machine.left()
    assert (left["containers"], left["volumes"], left["mounts"]) == ([], [], [])
    assert set(left["networks"]) <= {"bridge", "host", "none", "mayfly"}
