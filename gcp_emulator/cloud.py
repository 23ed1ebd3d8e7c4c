"""The emulated cloud: one pure model with no clock, no I/O and no randomness of its own."""

import json
from collections.abc import Mapping
from datetime import datetime
from random import Random

from gcp_emulator import access, control, instances, metadata_server, operations, power, run_attempts
from gcp_emulator.delivery import deliver
from gcp_emulator.errors import JSON_TYPE, ApiError, GoogleError, no_such_page
from gcp_emulator.faults import Faults
from gcp_emulator.history import History
from gcp_emulator.identity import Signer
from gcp_emulator.knobs import Knobs
from gcp_emulator.latency import INSTANT, Latency
from gcp_emulator.links import short
from gcp_emulator.methods import CONTROL, ROUTES, VERBS
from gcp_emulator.network import Network
from gcp_emulator.principals import principal
from gcp_emulator.routes import Answer, Call, Route
from gcp_emulator.run_executions import State
from gcp_emulator.seed import BadSeedError, Seed, seed_from_json
from gcp_emulator.sowing import sow
from gcp_emulator.wire import (
    Effect,
    EraseDisk,
    GuestEvent,
    Held,
    KillProcesses,
    KillTask,
    Lost,
    PullPlug,
    Reply,
    Request,
    SerialOutput,
    TaskEvent,
    Unforward,
)
from gcp_emulator.world import World

SERIAL_BYTES_TOLD = 1000  # of what a guest prints at once goes to the history; getSerialPortOutput has it all


class Cloud:
    """Answers requests and makes things happen, at the times it is told.

    A door calls `answer`, `metadata` and `guest_says` whenever it has something, and after each of them, and whenever
    `due()` has come, `advance(now)`, whose effects it carries out in order. Times never go backwards.
    """

    def __init__(
        self,
        seed: Seed,
        now: datetime,
        *,
        port: int = 8475,  # decides the addresses: 127.<port // 256>.<port % 256>.x
        latency: Latency = INSTANT,
        knobs: Knobs | None = None,
        random: Random | None = None,
        signer: Signer | None = None,  # identity tokens; Signer.new() makes a key (not pure: the door does it)
        guests: bool = True,  # False: nobody carries effects out, so STOPPING does not wait for ShutDown
    ) -> None:
        self._seed = seed
        self._port, self._latency, self._knobs = port, latency, knobs or Knobs()
        self._random, self._signer, self._guests = random or Random(0), signer, guests  # noqa: S311
        self.world = self._made(seed, now)

    def _made(self, seed: Seed, now: datetime) -> World:
        world = World(
            now=now,
            network=Network(self._port),
            latency=self._latency,
            knobs=self._knobs,
            random=self._random,
            signer=self._signer,
            guests=self._guests,
            faults=Faults(VERBS),
            ask=self._deliver,
        )
        sow(world, seed)
        return world

    @property
    def seed(self) -> Seed:
        """What this world began with."""
        return self._seed

    @property
    def changes(self) -> int:
        """Rises with every change that a held request may wait for."""
        return self.world.changes

    @property
    def history(self) -> History:
        """What happened so far in this world."""
        return self.world.history

    def machines(self) -> Mapping[str, str]:
        """Map the key of each instance that exists to its internal address, where its metadata server must listen."""
        return {vm.key: vm.internal_ip for vm in self.world.instances.values()}

    # --- time ----------------------------------------------------------------------------------------------------

    def due(self) -> datetime | None:
        """When `advance` has something to do by itself (possibly in the past: then at once)."""
        return self.world.now if self.world.effects else self.world.agenda.next()

    def advance(self, now: datetime) -> list[Effect]:
        """Make everything happen that is due by now, and hand over the effects since the last call."""
        self.world.catch_up(now)
        effects, self.world.effects = self.world.effects, []
        return effects

    # --- requests ------------------------------------------------------------------------------------------------

    def answer(self, request: Request, now: datetime, first_asked: datetime | None = None) -> Reply | Held | Lost:
        """Answer for Google's APIs and /_emulator/*. A held request comes again with first_asked."""
        self.world.catch_up(now)
        if request.path.startswith("/_emulator/"):
            return self._control(request)
        return self._deliver(request, first_asked)

    def _deliver(self, request: Request, first_asked: datetime | None = None) -> Reply | Held | Lost:
        """Take a request to its service, whether it comes from outside or from another service of this cloud."""
        found = ROUTES.find(request.method, request.path)
        if found is None:
            reply = no_such_page(request.path)
            self.history.add_request(self.world.now, request, "unknown", reply.status)
            return reply
        route, params = found
        call = Call(request, route.verb, params, first_asked or self.world.now, again=first_asked is not None)
        call.principal = principal(request)
        result = deliver(self.world, call, lambda arrived: self._replied(route, arrived))
        self.world.past.remember(self.world)
        return result

    def _replied(self, route: Route, call: Call) -> Reply | Held:
        try:
            if not call.again:
                access.check(self.world, call)
            if known := operations.replayed(self.world, call):
                return _as_reply(known.as_json())
            return _as_reply(route.handler(self.world, call))
        except GoogleError as refused:
            return refused.reply()

    # --- the guest's side ----------------------------------------------------------------------------------------

    def metadata(
        self, instance: str, request: Request, now: datetime, first_asked: datetime | None = None
    ) -> Reply | Held | Lost:
        """Ask that VM's own metadata server. Nothing is heard from one that the VM is cut off from."""
        self.world.catch_up(now)
        vm = self.world.instances.get(instance)
        if vm is None:
            return no_such_page(request.path)
        if vm.deaf_until and self.world.now < vm.deaf_until:
            return Held(vm.deaf_until)
        verb = "metadata." + request.method.lower()
        call = Call(request, verb, {}, first_asked or self.world.now, again=first_asked is not None)
        return deliver(self.world, call, lambda arrived: metadata_server.answer(self.world, vm, arrived), vm.key)

    def guest_says(self, instance: str, event: GuestEvent, now: datetime) -> None:
        """Take in what a guest did. An instance that is gone, or a word that comes too late, changes nothing."""
        self.world.catch_up(now)
        vm = self.world.instances.get(instance)
        if vm is None:
            return
        if isinstance(event, SerialOutput):
            vm.serial.write(event.data)
            if vm.cut_at and vm.serial.shows(vm.cut_at, vm.booted_at_byte):
                vm.cut_at = None
                self.world.effects.append(KillProcesses(vm.key, startup_script=True))
            said = event.data[:SERIAL_BYTES_TOLD].decode(errors="replace")
            self.history.add(now, "guest", resource=short(vm.key), event="SerialOutput", text=said)
            return
        power.guest_is_down(self.world, vm, event)

    def task_says(self, task: str, event: TaskEvent, now: datetime) -> None:
        """Take in what a task of a Cloud Run job did. One that is over, or gone, changes nothing."""
        self.world.catch_up(now)
        run_attempts.task_says(self.world, task, event)

    # --- the emulator's own --------------------------------------------------------------------------------------

    def _control(self, request: Request) -> Reply | Held:
        try:
            match request.method, request.path:
                case "POST", "/_emulator/reset":
                    return self._begin_again(self._seed)
                case "POST", "/_emulator/seed":
                    return self._begin_again(seed_from_json(json.loads(request.body)))
            found = CONTROL.find(request.method, request.path)
            if found is None:
                return no_such_page(request.path)
            route, params = found
            return _as_reply(route.handler(self.world, Call(request, route.verb, params, self.world.now)))
        except GoogleError as refused:
            return refused.reply()
        except (BadSeedError, ValueError) as wrong:
            return ApiError(400, "invalid", str(wrong)).reply()

    def _begin_again(self, seed: Seed) -> Reply:
        """Leave the old world, guests, disks and all, for a new one."""
        old, new = self.world, self._made(seed, self.world.now)
        for vm in old.instances.values():
            if vm.external_ip and vm.status == instances.RUNNING:
                old.effects.append(Unforward(vm.external_ip))
            old.effects += [PullPlug(vm.key), EraseDisk(vm.key)]
        old.effects += [
            KillTask(task.name, task.attempt)
            for execution in old.executions.values()
            for task in execution.tasks
            if task.state is State.RUNNING
        ]
        new.effects = old.effects + new.effects
        new.changes += old.changes + 1
        self._seed, self.world = seed, new
        return control.reply_json({"instances": list(new.instances)})


def _as_reply(answer: Answer) -> Reply | Held:
    if isinstance(answer, Reply | Held):
        return answer
    return Reply(200, json.dumps(answer, separators=(",", ":")).encode(), JSON_TYPE)
