"""The way from a static IP to its VM: open only while it is told to be, and honest about broken connections."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gcp_emulator.forward import Forwarding
from gcp_emulator.loopback import NoLoopbackAddressError, PortTakenError, listen

INTERNAL, EXTERNAL = "127.77.1.2", "127.77.1.128"


async def _echo_in_capitals(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
    writer.write(b"END\n")
    writer.close()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with await asyncio.start_server(_echo_in_capitals, INTERNAL, 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def forwarding(port: int) -> AsyncIterator[Forwarding]:
    forwarding = Forwarding([port])
    yield forwarding
    forwarding.close_all()


async def test_bytes_travel_both_ways_and_each_side_may_finish_first(forwarding: Forwarding, port: int) -> None:
    forwarding.open(EXTERNAL, INTERNAL)
    reader, writer = await asyncio.open_connection(EXTERNAL, port)
    writer.write(b"hello\n")
    assert await reader.readline() == b"HELLO\n"
    writer.write_eof()
    assert await reader.read() == b"END\n"
    writer.close()


async def test_an_address_that_was_taken_off_refuses_and_its_connections_are_cut(
    forwarding: Forwarding, port: int
) -> None:
    forwarding.open(EXTERNAL, INTERNAL)
    reader, writer = await asyncio.open_connection(EXTERNAL, port)
    writer.write(b"hello\n")
    await reader.readline()
    forwarding.close(EXTERNAL)
    with pytest.raises(ConnectionResetError):
        await reader.readline()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(EXTERNAL, port)
    writer.close()


async def test_a_machine_on_which_nobody_listens_breaks_the_connection(forwarding: Forwarding, port: int) -> None:
    forwarding.open(EXTERNAL, "127.77.1.3")
    reader, writer = await asyncio.open_connection(EXTERNAL, port)
    with pytest.raises(ConnectionResetError):
        await reader.readline()
    writer.close()


async def test_an_address_can_move_to_another_machine(forwarding: Forwarding, port: int) -> None:
    forwarding.open(EXTERNAL, "127.77.1.3")
    forwarding.open(EXTERNAL, INTERNAL)
    reader, writer = await asyncio.open_connection(EXTERNAL, port)
    writer.write(b"moved\n")
    assert await reader.readline() == b"MOVED\n"
    writer.close()


async def test_a_taken_port_and_a_missing_loopback_address_say_what_to_do(port: int) -> None:
    with pytest.raises(PortTakenError, match="another emulator"):
        listen(INTERNAL, port)
    with pytest.raises(NoLoopbackAddressError, match=r"ifconfig lo0 alias 192\.0\.2\.1"):
        listen("192.0.2.1", 0)
