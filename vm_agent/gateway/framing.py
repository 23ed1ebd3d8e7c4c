"""Where a message ends, and nobody may see it otherwise: request smuggling is refused before the request is a request.

h11 alone takes bare line feeds, folded lines, a Content-Length beside Transfer-Encoding and a repeated one, as older
RFCs allow. Whoever stands before or behind the gateway may read these in another way; so here they are 400, and the
connection ends. Requests go on in h11's own, single spelling in any case.
"""

import asyncio
import re

import h11
from h11._receivebuffer import ReceiveBuffer

from vm_agent.connections import TOO_LARGE, Connection
from vm_agent.gateway import policy
from vm_agent.gateway.headers import API_KEY

_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_ONCE = (b"host", b"content-length", b"transfer-encoding", API_KEY, b"authorization")


class StrictConnection(Connection):
    """The agent's connection with a strict buffer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by asyncio."""
        self.conn._receive_buffer = StrictBuffer(self.conn)  # h11 has no other place where raw lines are seen
        super().connection_made(transport)


class StrictBuffer(ReceiveBuffer):
    """Gives h11 the lines of a head, or of a trailer, only if there is one way to read them."""

    def __init__(self, connection: h11.Connection) -> None:
        super().__init__()
        self._connection = connection
        self._looked = 0  # so far nothing was wrong: a head that comes byte by byte is not read anew for each

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """All lines before the first empty one; None: they are not all here yet."""
        if self._data[:2] != b"\r\n":  # that is an empty line, which ends what h11 looks for
            end = self._data.find(b"\r\n\r\n")
            if _BARE.search(self._data, max(0, self._looked - 1), end + 4 if end >= 0 else len(self._data)):
                raise h11.RemoteProtocolError("a line does not end with CR LF")
            self._looked = 0 if end >= 0 else len(self._data)
            if end > policy.HEAD_BYTES_MAX:  # h11 minds only one that is not all there yet
                raise h11.RemoteProtocolError("the head is too large", error_status_hint=TOO_LARGE)
        lines = super().maybe_extract_lines()
        if lines:
            if self._connection.their_state is h11.IDLE and not lines[0].endswith((b" HTTP/1.1", b" HTTP/1.0")):
                raise h11.RemoteProtocolError("neither HTTP/1.1 nor 1.0")  # h11 takes any two digits
            check(lines)
        return lines


def check(lines: list[bytearray]) -> None:
    """RemoteProtocolError for lines whose meaning depends on the reader."""
    if any(line.startswith((b" ", b"\t")) for line in lines):
        raise h11.RemoteProtocolError("a folded line")
    fields = [line.partition(b":") for line in lines]
    said = {name: [bytes(value).strip() for key, _, value in fields if key.lower() == name] for name in _ONCE}
    if repeated := [name.decode() for name, values in said.items() if len(values) > 1]:
        raise h11.RemoteProtocolError(f"{repeated[0]} is repeated")
    if said[b"content-length"] and said[b"transfer-encoding"]:
        raise h11.RemoteProtocolError("content-length and transfer-encoding")
    if any(not length.isdigit() for length in said[b"content-length"]):
        raise h11.RemoteProtocolError("content-length is no number")
    if any(coding.lower() != b"chunked" for coding in said[b"transfer-encoding"]):
        raise h11.RemoteProtocolError("transfer-encoding is not chunked")
    if said[b"transfer-encoding"] and lines[0].endswith(b" HTTP/1.0"):
        raise h11.RemoteProtocolError("transfer-encoding in HTTP/1.0")
