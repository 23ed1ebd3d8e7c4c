"""How journeys end well, whatever went wrong on the way."""

from orchestrator.lease import Phase
from orchestrator.run import Receipt
from tests.journeys.lab import Lab


async def is_down(lab: Lab) -> bool:
    """The VM is off, its address is off it and nobody's, and the lease is free."""
    lease = await lab.lease()
    free = lease is None or lease.phase is Phase.FREE
    return free and (await lab.vm())["status"] == "TERMINATED" and (await lab.address())["status"] == "RESERVED"


async def ended(lab: Lab, receipt: Receipt, exit_code: int) -> None:
    """It says so, the clean-up is confirmed, and the cloud shows the same."""
    assert (receipt.exit_code, receipt.cleanup) == (exit_code, "confirmed"), receipt.detail
    assert await is_down(lab)
