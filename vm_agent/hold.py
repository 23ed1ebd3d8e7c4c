"""A person at work on the VM: `mayfly-hold=<until>` in its metadata disarms the dead-man, as the login banner says."""

import contextlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vm_agent import policy

log = logging.getLogger(__name__)


def hold_seconds(text: str, now: datetime) -> float:
    """How long from now this hold keeps the VM on: 24 h at most, 0 if it is over, is none or is not a time."""
    if not text:
        return 0.0
    try:
        until = datetime.fromisoformat(text.strip())
    except ValueError:
        log.warning("mayfly-hold=%r is not a time such as 2030-01-31T18:00:00Z: it holds nothing", text)
        return 0.0
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), 0.0), policy.HOLD_SECONDS_MAX)


@dataclass(frozen=True)
class Banner:
    """What a person reads at login (pam_motd shows the files of /run/motd.d, which no reboot leaves behind)."""

    path: Path

    def say(self, text: str | None) -> None:
        """Show this; None: nothing more."""
        with contextlib.suppress(OSError):  # a banner that cannot be written holds nobody up
            if text is None:
                self.path.unlink(missing_ok=True)
            else:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.write_text(f"{text}\n", encoding="utf-8")
