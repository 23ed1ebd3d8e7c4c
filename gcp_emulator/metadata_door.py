"""One metadata server for each VM: the model's answers, on the VM's own internal address and the emulator's port."""

import asyncio
from functools import partial

from gcp_emulator.asgi import app_of
from gcp_emulator.cloud import Cloud
from gcp_emulator.listener import Listener
from gcp_emulator.loopback import listen
from gcp_emulator.wallclock import WallClock
from gcp_emulator.wire import Lost, Reply, Request


class MetadataDoors:
    """The metadata servers that listen, each on its address."""

    def __init__(self, cloud: Cloud, clock: WallClock, port: int) -> None:
        self._cloud = cloud
        self._clock = clock
        self._port = port
        self._instance_at: dict[str, str] = {}  # a reset of the world may give an address to another VM
        self._listeners: list[Listener] = []

    def open(self, instance: str, internal_ip: str) -> None:
        """Listen there from now on, so that the guest's first question already finds an answer."""
        if internal_ip not in self._instance_at:
            self._listeners.append(Listener(listen(internal_ip, self._port), app_of(partial(self._ask, internal_ip))))
        self._instance_at[internal_ip] = instance

    async def close(self) -> None:
        """Listen nowhere any more."""
        await asyncio.gather(*(listener.close() for listener in self._listeners))

    async def _ask(self, internal_ip: str, request: Request) -> Reply | Lost:
        instance = self._instance_at[internal_ip]
        return await self._clock.ask(partial(self._cloud.metadata, instance, request))
