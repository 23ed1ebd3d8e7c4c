"""The startup script that VMs boot with: ours, as it is in this copy of Mayfly."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from orchestrator.errors import BadUsage

_SCRIPT = Path(__file__).with_name("startup.sh")  # in the repository a link to the one at its top, in a wheel itself
SCRIPT_ATTRIBUTE = "startup-script"
HASH_ATTRIBUTE = "mayfly-startup-sha256"  # of the script that was deployed: also says that the VM is complete


@dataclass(frozen=True)
class StartupScript:
    """A text; its hash tells whether a VM's is this one."""

    text: str

    @cached_property
    def sha256(self) -> str:
        """In hex."""
        return sha256(self.text.encode()).hexdigest()


def startup_script() -> StartupScript:
    """Ours. BadUsage: this copy of Mayfly came without it."""
    try:
        return StartupScript(_SCRIPT.read_text("utf-8"))
    except OSError as missing:
        raise BadUsage(
            f"{_SCRIPT} is not there: deploy from a clone of Mayfly's repository, or install it."
        ) from missing
