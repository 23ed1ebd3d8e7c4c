"""The firewall between whoever starts runs and the agent's port."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from mayfly.doctor.findings import Finding, Level, NotLooked, Trouble, check, well
from mayfly.doctor.patient import Patient
from orchestrator.google_admin import Json, Service
from orchestrator.run import Reach

Range = IPv4Network | IPv6Network
_ANYWHERE = ip_network("0.0.0.0/0")

CLOSED = Trouble(
    Level.FAIL,
    "No firewall rule lets {who} reach port {port} of {instance} on the network {network}.",
    "Open it, unless a firewall policy does, which is not looked at. Whoever gets through still needs a token.",
    "gcloud compute firewall-rules create mayfly-agent --project {project} --network {network} --allow tcp:{port} "
    "--source-ranges {ranges} --target-tags mayfly && "
    "gcloud compute instances add-tags {instance} --zone {zone} --project {project} --tags mayfly",
)
NO_TAG = Trouble(
    Level.FAIL,
    "The firewall rule {rule} opens port {port} to VMs with the tag {tag}, and {instance} does not have it.",
    "Give it the tag.",
    "gcloud compute instances add-tags {instance} --zone {zone} --project {project} --tags {tag}",
)
NARROW = Trouble(
    Level.FAIL,
    "Port {port} is open to {ranges} only, and Cloud Run calls from an address that nobody knows beforehand.",
    "Open it to all (whoever gets through still needs a token), or let the job into the VM's network: "
    "AGENT_REACH=internal.",
    "gcloud compute firewall-rules update {rule} --project {project} --source-ranges 0.0.0.0/0",
)


@dataclass(frozen=True)
class Rule:
    """One that is about calls to the agent's port on the VM's network."""

    name: str
    priority: int
    allows: bool
    ranges: tuple[Range, ...]
    tags: frozenset[str]  # of the VMs that it is for
    accounts: frozenset[str]  # or theirs; neither: it is for all

    def is_for(self, vm: Json) -> bool:
        """Whether it is about this VM."""
        accounts = {account["email"] for account in vm.get("serviceAccounts", [])}
        mentioned = self.tags.intersection(vm.get("tags", {}).get("items", [])) or self.accounts & accounts
        return bool(mentioned) or not (self.tags or self.accounts)


@check("firewall", CLOSED, NO_TAG, NARROW)
async def firewall(patient: Patient) -> list[Finding]:
    """Whoever starts runs reaches the agent's port."""
    vm = await patient.vm()
    network = _network(vm, patient.settings.project_id)
    listed = await patient.listed(
        Service.COMPUTE, f"projects/{patient.settings.project_id}/global/firewalls", "items", "the firewall rules"
    )
    rules = [rule for body in listed if (rule := rule_of(body, network, patient.settings.agent_port)) is not None]
    here = [rule for rule in rules if rule.is_for(vm)]
    wanted, who = await _callers(patient)
    if wanted is not None and open_to(here, wanted):
        return well(f"Port {patient.settings.agent_port} is open to {who}.")
    allowed = [rule for rule in here if rule.allows]
    ranges = [str(one) for rule in allowed for one in rule.ranges]
    if wanted is None and ranges:
        return well(f"Port {patient.settings.agent_port} is open to {', '.join(ranges)}: start runs from there.")
    if wanted == _ANYWHERE and ranges:
        return [NARROW.found(patient.names, ranges=", ".join(ranges), rule=allowed[0].name)]
    return [_closed(patient, [rule for rule in rules if rule not in here], network, who, wanted)]


def _network(vm: Json, project: str) -> str:
    """Its name. NotLooked: it is another project's."""
    network: str = vm["networkInterfaces"][0].get("network", "default")
    shared = re.search(r"projects/([^/]+)/global/networks/", network)
    if shared and shared[1] != project:
        raise NotLooked(f"The network {_last(network)} is of the project {shared[1]}, as its firewall rules are.")
    return _last(network)


def _closed(patient: Patient, others: list[Rule], network: str, who: str, wanted: Range | None) -> Finding:
    """Nobody gets through; maybe only because a tag is missing."""
    tagged = next((rule for rule in others if rule.allows and rule.tags), None)
    if tagged is not None:
        return NO_TAG.found(patient.names, rule=tagged.name, tag=min(tagged.tags))
    return CLOSED.found(patient.names, who=who, network=network, ranges=wanted or _ANYWHERE)


async def _callers(patient: Patient) -> tuple[Range | None, str]:
    """From where runs are started, as far as that is known, and in words."""
    try:
        job = await patient.deployed_job()
    except NotLooked:
        return None, "anybody"
    access = job["template"]["template"].get("vpcAccess", {})
    interfaces = access.get("networkInterfaces", [])
    if patient.settings.agent_reach is Reach.EXTERNAL or not interfaces:
        return _ANYWHERE, "Cloud Run (it calls from anywhere)"
    name = interfaces[0].get("subnetwork") or interfaces[0].get("network", "default")
    path = f"projects/{patient.settings.project_id}/regions/{patient.config.job_region}/subnetworks/{_last(name)}"
    subnetwork = await patient.found(Service.COMPUTE, path)
    if subnetwork is None:
        raise NotLooked(f"There is no subnetwork {_last(name)} in {patient.config.job_region}.")
    return ip_network(subnetwork["ipCidrRange"]), f"Cloud Run from the subnetwork {_last(name)}"


def open_to(rules: Iterable[Rule], wanted: Range) -> bool:
    """What the first rule says that is about all of these callers; Google denies where rules of one rank differ."""
    for rule in sorted(rules, key=lambda rule: (rule.priority, rule.allows)):
        if any(one.version == wanted.version and wanted.subnet_of(one) for one in rule.ranges):  # type: ignore[arg-type]
            return rule.allows
    return False


def rule_of(body: Json, network: str, port: int) -> Rule | None:
    """The rule, if it is about calls from outside to that port on that network."""
    if body.get("disabled") or body.get("direction", "INGRESS") != "INGRESS" or _last(body["network"]) != network:
        return None
    entries = body.get("allowed") or body.get("denied") or []
    if not any(_covers(entry, port) for entry in entries):
        return None
    tagged = bool(body.get("sourceTags") or body.get("sourceServiceAccounts"))
    ranges = body.get("sourceRanges") or ([] if tagged else [str(_ANYWHERE)])
    return Rule(
        body["name"],
        int(body.get("priority", 1000)),
        bool(body.get("allowed")),
        tuple(map(ip_network, ranges)),
        frozenset(body.get("targetTags", ())),
        frozenset(body.get("targetServiceAccounts", ())),
    )


def _covers(entry: Json, port: int) -> bool:
    if entry["IPProtocol"] not in {"tcp", "6", "all"}:
        return False
    spans = [span.partition("-") for span in entry.get("ports", [])]
    return not spans or any(int(first) <= port <= int(last or first) for first, _, last in spans)


def _last(url: str) -> str:
    return url.rpartition("/")[2]
