"""A run's log by byte offset: what is on disk now, and as it grows. Bytes are not interpreted: none is lost."""

import codecs
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from vm_agent import policy


def read(log: Path, offset: int, limit_bytes: int) -> bytes:
    """Up to so many bytes from `offset`: none if the log does not reach so far (or is no longer kept)."""
    try:
        with log.open("rb") as file:
            if offset >= os.fstat(file.fileno()).st_size:  # it may be further than any file system can seek
                return b""
            file.seek(offset)
            return file.read(limit_bytes)
    except FileNotFoundError:
        return b""


async def events(log: Path, offset: int, more: Callable[[int], Awaitable[bool | None]]) -> AsyncIterator[str]:
    """The log as server-sent events, from `offset` to the end of the run.

    `more(offset)` waits for bytes beyond the offset, and says False once there will never be any: only then comes the
    event `end`. None: the agent leaves, so the stream just stops and the client must come back.
    Each event's id is the offset after it: a client that reconnects with Last-Event-ID misses nothing. The data is a
    JSON string: an event's lines would lose carriage returns. A character cut by a read waits for its other half.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    while True:
        chunk = read(log, offset, policy.CHUNK_BYTES)
        offset += len(chunk)
        if text := decoder.decode(chunk):
            held, _ = decoder.getstate()
            yield _event("log", text, offset - len(held))
        if chunk:
            continue
        if (coming := await more(offset)) is None:
            return
        if not coming:
            break
    if rest := decoder.decode(b"", final=True):
        yield _event("log", rest, offset)
    yield _event("end", "", offset)


def _event(kind: str, text: str, offset: int) -> str:
    return f"id: {offset}\nevent: {kind}\ndata: {json.dumps(text, ensure_ascii=False)}\n\n"
