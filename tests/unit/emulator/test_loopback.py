"""Sockets that a server of asyncio serves without Nagle's delay."""

import asyncio
import socket

from gcp_emulator.loopback import LOCALHOST, listen


async def test_a_small_reply_is_not_held_back_on_a_listener_of_ours():
    """Without IPPROTO_TCP spelled out, asyncio leaves Nagle's algorithm on: 40 ms for each reply in two writes."""
    nodelay: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def served(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        option = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()
        nodelay.set_result(option)

    listener = listen(LOCALHOST, 0)
    port = listener.getsockname()[1]
    async with await asyncio.start_server(served, sock=listener):
        _, writer = await asyncio.open_connection(LOCALHOST, port)
        assert await nodelay != 0
        writer.close()
