"""Everything that exists in one emulated cloud, and the few ways in which it changes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from uuid import UUID
from weakref import WeakKeyDictionary

from gcp_emulator.addresses import Address
from gcp_emulator.artifact_registry import Repository
from gcp_emulator.buckets import Bucket
from gcp_emulator.custom_roles import CustomRole
from gcp_emulator.disks import Disk
from gcp_emulator.docker_images import Image
from gcp_emulator.errors import invalid, not_found
from gcp_emulator.fault_kinds import NAMES, AtBoot
from gcp_emulator.faults import F, Faults
from gcp_emulator.firewalls import Firewall
from gcp_emulator.history import History
from gcp_emulator.identity import Signer
from gcp_emulator.instances import Instance
from gcp_emulator.knobs import Knobs
from gcp_emulator.latency import Latency
from gcp_emulator.logs import Logs
from gcp_emulator.network import Network
from gcp_emulator.operations import Operation
from gcp_emulator.past import Past
from gcp_emulator.places import Project
from gcp_emulator.policies import Policy
from gcp_emulator.resumable import Session
from gcp_emulator.routes import Call
from gcp_emulator.rpc import LongRunning
from gcp_emulator.run_executions import Execution
from gcp_emulator.run_jobs import Job
from gcp_emulator.run_operations import RunOperation
from gcp_emulator.scheduler_jobs import SchedulerJob
from gcp_emulator.secrets import Secret
from gcp_emulator.service_accounts import ServiceAccount
from gcp_emulator.templates import InstanceTemplate
from gcp_emulator.timing import Agenda
from gcp_emulator.wire import LOST, Delayed, Effect, Held, Lost, Reply, Request

Ask = Callable[[Request], Reply | Held | Lost]


def _nobody(_request: Request) -> Lost:
    return LOST


@dataclass(slots=True)
class World:
    """The state that handlers read and change. `now` is the time of what is being done."""

    now: datetime
    network: Network
    latency: Latency
    knobs: Knobs
    random: Random
    signer: Signer | None
    guests: bool
    regions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    projects: dict[str, Project] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    addresses: dict[str, Address] = field(default_factory=dict)
    disks: dict[str, Disk] = field(default_factory=dict)  # those that outlived their instance
    templates: dict[str, InstanceTemplate] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    replays: dict[tuple[str, str], Operation] = field(default_factory=dict)  # (path, requestId)
    buckets: dict[str, Bucket] = field(default_factory=dict)
    uploads: dict[str, Session] = field(default_factory=dict)  # under way, by upload_id
    secrets: dict[str, Secret] = field(default_factory=dict)
    firewalls: dict[str, Firewall] = field(default_factory=dict)
    accounts: dict[str, ServiceAccount] = field(default_factory=dict)  # by email
    roles: dict[str, CustomRole] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)  # by the key of their resource
    repositories: dict[str, Repository] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)  # of Artifact Registry
    images_to_come: tuple[str, ...] = ()  # as soon as there is a repository for them
    long_running: dict[str, LongRunning] = field(default_factory=dict)  # the operations of all services but Compute
    jobs: dict[str, Job] = field(default_factory=dict)  # of Cloud Run, by name
    executions: dict[str, Execution] = field(default_factory=dict)
    run_operations: dict[str, RunOperation] = field(default_factory=dict)
    scheduler_jobs: dict[str, SchedulerJob] = field(default_factory=dict)
    logs: Logs = field(default_factory=Logs)
    ask: Ask = _nobody  # a request that one service of this cloud makes of another
    faults: Faults = field(default_factory=Faults)
    history: History = field(default_factory=History)
    agenda: Agenda = field(default_factory=Agenda)
    effects: list[Effect] = field(default_factory=list)
    past: Past = field(default_factory=Past)
    delayed: WeakKeyDictionary[Request, Delayed] = field(default_factory=WeakKeyDictionary)
    etags_first_seen: WeakKeyDictionary[Request, str] = field(default_factory=WeakKeyDictionary)
    changes: int = 0

    def later(self, step: str, happening: Callable[[], None]) -> None:
        """Let this happen once the step's latency has passed."""
        self.agenda.put(self.now + self.latency.draw(step, self.random), happening)

    def catch_up(self, now: datetime) -> None:
        """Make everything happen that is due by then, each at its own time."""
        while due := self.agenda.pop_due(now):
            when, happening = due
            self.now = max(self.now, when)
            happening()
            self.past.remember(self)
        self.now = max(self.now, now)

    def fault(self, kind: type[F], call: Call) -> F | None:
        """Find the fault of this kind that a request meets, and write down that it did."""
        met = self.faults.take(kind, call.verb, call.request.path, self.now)
        if met is None:
            return None
        fault, rule = met
        facts = {"rule": rule.id, "fault": NAMES[type(fault)]}
        self.history.add(self.now, "fault", **facts, verb=call.verb, path=call.request.path)
        return fault

    def faults_at_boot(self, vm: Instance) -> list[AtBoot]:
        """Find what this boot comes to, and write that down."""
        met = self.faults.at_boot(vm.name)
        for fault, rule in met:
            self.history.add(self.now, "fault", rule=rule.id, fault=NAMES[type(fault)], resource=f"instances/{vm.name}")
        return [fault for fault, _ in met]

    def new_id(self) -> str:
        """Make a numeric id such as Compute Engine's: 19 digits, as a string."""
        return str(self.random.randrange(10**18, 9 * 10**18))

    def new_uid(self) -> str:
        """Make a UUID, such as the later services give."""
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def moved(self, resource: str, before: str, after: str) -> None:
        """Write down that a resource went from one status to another."""
        self.changes += 1
        self.history.add(self.now, "state", resource=resource, **{"from": before, "to": after})

    def project(self, name: str) -> Project:
        """Find a project."""
        if project := self.projects.get(name):
            return project
        raise not_found(f"projects/{name}")

    def check_zone(self, project: str, zone: str) -> None:
        """Refuse a zone that is none."""
        self.project(project)
        if not any(zone in zones for zones in self.regions.values()):
            raise invalid("zone", zone, "Unknown zone.")

    def check_region(self, project: str, region: str) -> None:
        """Refuse a region that is none."""
        self.project(project)
        if region not in self.regions:
            raise invalid("region", region, "Unknown region.")

    def region_of(self, zone: str) -> str:
        """Name the region that a zone is in."""
        return zone.rsplit("-", 1)[0]
