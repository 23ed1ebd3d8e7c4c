"""An emulated VM's inside without the emulator: one guest, its console, and what is alive of it."""

import pytest

from gcp_emulator.guest import Isolation
from tests.guests import AGuest
from tests.tools import require_namespaces


@pytest.fixture(params=list(Isolation), ids=lambda isolation: isolation.name.lower())
def isolation(request):
    if request.param is Isolation.NAMESPACES:
        require_namespaces()
    return request.param


@pytest.fixture
async def guest(tmp_path, isolation):
    async with AGuest(tmp_path / "disk", isolation=isolation) as it:
        yield it
