"""An emulated VM's inside without the emulator: one guest, its console, and what is alive of it."""

import pytest

from gcp_emulator.guest import Isolation, strongest_isolation
from tests.guests import AGuest


@pytest.fixture(params=list(Isolation), ids=lambda isolation: isolation.name.lower())
def isolation(request):
    if request.param is Isolation.NAMESPACES and strongest_isolation() is not Isolation.NAMESPACES:
        pytest.skip("this system lets us make no namespaces")
    return request.param


@pytest.fixture
async def guest(tmp_path, isolation):
    async with AGuest(tmp_path / "disk", isolation=isolation) as it:
        yield it
