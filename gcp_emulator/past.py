"""What reads showed earlier: for caches of Google's that lag behind."""

from bisect import bisect_right
from datetime import datetime
from typing import TYPE_CHECKING

from gcp_emulator.errors import not_found
from gcp_emulator.routes import Json

if TYPE_CHECKING:
    from gcp_emulator.world import World


class Past:
    """Every document of every instance and address, from the time at which somebody began to care."""

    def __init__(self) -> None:
        self._shown: dict[str, list[tuple[datetime, Json | None]]] = {}  # None: there was none
        self._since: datetime | None = None
        self.kept = False

    def remember(self, world: "World") -> None:
        """Take in what changed since the last call."""
        if not self.kept:
            return
        now: dict[str, Json | None] = dict.fromkeys(self._shown)
        now |= {vm.key: vm.as_json() for vm in world.instances.values()}
        now |= {address.key: address.as_json() for address in world.addresses.values()}
        self._since = self._since or world.now
        for key, document in now.items():
            shown = self._shown.setdefault(key, [] if self._since == world.now else [(self._since, None)])
            if not shown or shown[-1][1] != document:
                shown.append((world.now, document))

    def at(self, key: str, moment: datetime) -> Json:
        """Give what was shown then, or else first; raises the 404 of what was not there."""
        shown = self._shown.get(key, [])
        index = max(0, bisect_right([when for when, _ in shown], moment) - 1)
        document = shown[index][1] if shown else None
        if document is None:
            raise not_found(key)
        return document
