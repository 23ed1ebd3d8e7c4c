"""Serial port output: the last megabyte, by byte offset."""

from gcp_emulator.links import link
from gcp_emulator.routes import Json

KEPT_BYTES = 1 << 20


class Serial:
    """What was written to one port since the instance was made."""

    __slots__ = ("_kept", "_lost")

    def __init__(self) -> None:
        self._kept = bytearray()
        self._lost = 0  # bytes before those kept

    def write(self, data: bytes) -> None:
        """Take in what the guest wrote."""
        self._kept += data
        if (excess := len(self._kept) - KEPT_BYTES) > 0:
            del self._kept[:excess]
            self._lost += excess

    @property
    def end(self) -> int:
        """The offset of the next byte to come."""
        return self._lost + len(self._kept)

    def shows(self, text: str, start: int) -> bool:
        """Tell whether this text was written from this offset on."""
        return text.encode() in self._kept[max(start - self._lost, 0) :]

    def as_json(self, key: str, start: int) -> Json:
        """Show the bytes from this offset on; a negative one counts from the end."""
        first = min(max(start if start >= 0 else self.end + start, self._lost), self.end)
        return {
            "kind": "compute#serialPortOutput",
            "selfLink": link(f"{key}/serialPort"),
            "contents": self._kept[first - self._lost :].decode(errors="replace"),
            "start": str(first),
            "next": str(self.end),
        }
