"""What tests of every kind need of the machine."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vm_agent.policy import RESERVE_BYTES


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
