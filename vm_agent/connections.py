"""The connections of the agent's server: how many there may be, and how long each may take for what.

uvicorn itself would wait for ever for a request's head, and for a reader; and it takes as many connections as come.
"""

import asyncio
import sys
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from vm_agent import policy
from vm_agent.protocol import PROBLEM_MEDIA_TYPE, Problem
from vm_agent.replies import SECURITY_HEADERS

TOO_LARGE = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE.value


class Crowd:
    """All connections of one server. Who is being served stays; of the others the oldest makes room for who comes."""

    def __init__(self) -> None:
        self._waiting: dict[Connection, None] = {}  # for their request; in the order in which they came to wait
        self._served: set[Connection] = set()

    def takes(self, connection: "Connection") -> None:
        """A new one; or, while all are being served, none."""
        self._waiting[connection] = None
        if len(self._waiting) + len(self._served) > policy.CONNECTIONS_MAX:
            oldest = next(iter(self._waiting))
            self.forget(oldest)
            oldest.transport.abort()

    def serves(self, connection: "Connection") -> None:
        """Its request has come."""
        if connection in self._waiting:
            del self._waiting[connection]
            self._served.add(connection)

    def awaits(self, connection: "Connection") -> None:
        """It was answered, and may ask again."""
        if connection in self._served:
            self._served.discard(connection)
            self._waiting[connection] = None

    def forget(self, connection: "Connection") -> None:
        """It is gone."""
        self._waiting.pop(connection, None)
        self._served.discard(connection)


class Connection(H11Protocol):
    """One caller's: closed when no whole head comes in time, or when what it asked for is not taken."""

    def __init__(self, *given: Any, crowd: Crowd, **named: Any) -> None:
        super().__init__(*given, **named)
        self._crowd = crowd
        self._parted = False  # the last word is said
        self._head_is_late: asyncio.TimerHandle | None = None
        self._reader_is_late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by asyncio."""
        super().connection_made(transport)
        self._crowd.takes(self)
        self._mind_the_head()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if not self._parted:
            super().data_received(data)
            self._mind_the_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._crowd.forget(self)
        for timer in (self._head_is_late, self._reader_is_late):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Called by uvicorn, which goes on with a request that has come meanwhile."""
        super().on_response_complete()
        self._mind_the_head()

    def pause_writing(self) -> None:
        """Called by asyncio: the caller takes less than we send."""
        super().pause_writing()
        self._reader_is_late = self.loop.call_later(policy.READER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Called by asyncio: it has taken most of it."""
        if self._reader_is_late:
            self._reader_is_late.cancel()
            self._reader_is_late = None
        super().resume_writing()

    def shutdown(self) -> None:
        """Called by uvicorn, as it leaves: who keeps an idle connection may not answer TLS's goodbye."""
        super().shutdown()
        idle = not self._asked() or self.cycle.response_complete
        if idle and not self.transport.get_write_buffer_size():
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn for what is not HTTP: it has no way to the app, so it is answered here."""
        said = _why(sys.exc_info()[1], msg)
        body = said.model_dump_json().encode()
        headers = {"Content-Type": PROBLEM_MEDIA_TYPE, "Content-Length": str(len(body)), "Connection": "close"}
        headers |= SECURITY_HEADERS
        if self._asked():  # the app may be at work on the head of a request whose body is none
            self.cycle.disconnected = True
            self.cycle.waiting_for_100_continue = False  # too late to ask for the body
            self.cycle.message_event.set()
        if self.conn.our_state is h11.SEND_BODY:  # an answer is on its way, and must not look whole
            self.transport.close()
            return
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            head_only = self.conn.our_state is h11.SEND_RESPONSE and self.scope["method"] == "HEAD"
            self._send(h11.Response(status_code=said.status, headers=list(headers.items())))
            if not head_only:  # h11 lets no answer to HEAD have a body
                self._send(h11.Data(data=body))
            self._send(h11.EndOfMessage())
        self._part()

    def _part(self) -> None:
        """Close, but not while the caller still sends: the kernel would reset the connection, and lose the answer."""
        self._parted = True
        if self.transport.can_write_eof():  # not in TLS: there the answer's length tells where it ends
            with suppress(OSError):  # it is gone already, as we are about to hear
                self.transport.write_eof()
        self.flow.resume_reading()  # into nothing
        self._crowd.awaits(self)
        if self._head_is_late is None:
            self._head_is_late = self.loop.call_later(policy.REQUEST_HEAD_SECONDS, self.transport.close)

    def _asked(self) -> bool:
        """Whether a request has ever come. uvicorn's types do not tell that there is no cycle before."""
        return bool(self.cycle)

    def _send(self, event: h11.Event) -> None:
        self.transport.write(self.conn.send(event) or b"")

    def _mind_the_head(self) -> None:
        """From the first moment that we wait for it to its last byte: dribbling does not buy time.

        Nor does a body that goes on when its request has been answered.
        """
        if self._parted:
            return
        answered = self._asked() and self.cycle.response_complete
        if self.conn.their_state is h11.IDLE or answered:
            self._crowd.awaits(self)
            if self._head_is_late is None:
                self._head_is_late = self.loop.call_later(policy.REQUEST_HEAD_SECONDS, self.transport.close)
            return
        self._crowd.serves(self)
        if self._head_is_late:
            self._head_is_late.cancel()
            self._head_is_late = None


def _why(error: BaseException | None, detail: str) -> Problem:
    """What uvicorn makes of every error that h11 finds is one; h11 itself tells a head that is too large."""
    if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == TOO_LARGE:
        said = f"it may have {policy.HEAD_BYTES_MAX} bytes"
        return Problem(title="The request's head is too large", status=TOO_LARGE, detail=said, code="too-large")
    return Problem(title="The request is not HTTP", status=400, detail=detail, code="bad-request")
