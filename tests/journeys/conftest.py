"""Each journey has a laboratory of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.journeys.lab import Lab, a_lab


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """A stopped VM with the real agent in it; afterwards nothing may be on."""
    async with a_lab(tmp_path / "disks") as lab:
        yield lab
        await lab.all_is_well()
