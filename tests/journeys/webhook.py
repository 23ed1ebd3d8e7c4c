"""A chat's incoming webhook on this machine: takes posts, and answers them as a test tells it to."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

SECRET = "T0SECRET"


class Chat:
    """`answers` are given one after the other, the last for ever; None is silence."""

    def __init__(self, answers: list[int | None]) -> None:
        self.posts: list[dict[str, Any]] = []
        self.heads: list[str] = []
        self.url = ""
        self._answers = answers

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(int(line[15:]) for line in head.lower().splitlines() if line.startswith("content-length:"))
            self.heads.append(head)
            self.posts.append(json.loads(await reader.readexactly(length)))
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            if answer is None:
                await reader.read()  # until they hang up
            else:
                elsewhere = "Location: /elsewhere\r\n"
                writer.write(f"HTTP/1.1 {answer} So\r\n{elsewhere}Content-Length: 2\r\n\r\nok".encode())
                await writer.drain()
        finally:
            writer.close()

    @property
    def texts(self) -> list[str]:
        return [post["text"] for post in self.posts]


@asynccontextmanager
async def a_chat(*answers: int | None) -> AsyncIterator[Chat]:
    """It ends with the block; silent connections too."""
    chat = Chat(list(answers) or [200])
    server = await asyncio.start_server(chat.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    chat.url = f"http://{host}:{port}/services/{SECRET}"
    try:
        yield chat
    finally:
        server.close()
