"""The emulated network: loopback addresses made from the emulator's port, so that two emulators never collide."""

from collections.abc import Container

INTERNAL = range(2, 128)  # 127.hi.lo.2 .. .127, in order of creation
EXTERNAL = range(128, 255)  # 127.hi.lo.128 .. .254, reserved and ephemeral


class Network:
    """The addresses of one emulated cloud."""

    def __init__(self, port: int) -> None:
        self.prefix = f"127.{port // 256}.{port % 256}."

    def next_internal(self, taken: Container[str]) -> str | None:
        """Find an address for a new instance's nic0."""
        return self._first(INTERNAL, taken)

    def next_external(self, taken: Container[str]) -> str | None:
        """Find a free external address."""
        return self._first(EXTERNAL, taken)

    def has_external(self, ip: str) -> bool:
        """Tell whether this address can be reserved here."""
        return ip.startswith(self.prefix) and ip[len(self.prefix) :] in map(str, EXTERNAL)

    def _first(self, numbers: range, taken: Container[str]) -> str | None:
        return next((ip for number in numbers if (ip := f"{self.prefix}{number}") not in taken), None)
