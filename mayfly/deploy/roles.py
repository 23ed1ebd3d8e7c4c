"""What each of our accounts may do, and what for. `docs/security.md` has these tables, kept equal by a test.

`mayfly deploy` makes custom roles of the first three, on the project. The others are on one resource alone: the VM's
service account, a secret, the bucket of STATE_URL, a Cloud Run job. tests/journeys/test_permissions.py proves that they
suffice, and that none is superfluous.
"""

from collections.abc import Mapping

Permissions = Mapping[str, str]  # permission -> what needs it

_LOOK = "the look before every decision"
_CERTIFICATE = "the agent's certificate"
_CONSOLE = "how a boot that failed went"
_LEASE = "the lease"
_STATIC_IP = "the static IP, on and off"
_FOLLOW = "following what was asked for"
_AS_THE_TEMPLATE_SAYS = "the VM, with what the template gives it"
_IP_OF_THE_RUN = "`ADDRESS_POLICY=release`: the IP of the run"

ORCHESTRATOR: Permissions = {
    "compute.instances.get": _LOOK,
    "compute.instances.setMetadata": _LEASE,
    "compute.instances.setScheduling": "the deadline",
    "compute.instances.start": "the VM",
    "compute.instances.stop": "the VM",
    "compute.instances.getGuestAttributes": _CERTIFICATE,
    "compute.instances.getSerialPortOutput": _CONSOLE,
    "compute.instances.addAccessConfig": _STATIC_IP,
    "compute.instances.deleteAccessConfig": _STATIC_IP,
    "compute.subnetworks.useExternalIp": _STATIC_IP,
    "compute.addresses.use": _STATIC_IP,
    "compute.addresses.get": "the address's state",
    "compute.zoneOperations.get": _FOLLOW,
}
ORCHESTRATOR_TEMPLATE: Permissions = {
    "compute.instances.get": _LOOK,
    "compute.instanceTemplates.get": "the template",
    "compute.instanceTemplates.useReadOnly": "the template",
    "compute.instances.create": _AS_THE_TEMPLATE_SAYS,
    "compute.disks.create": _AS_THE_TEMPLATE_SAYS,
    "compute.images.useReadOnly": "an image of this project, if the template has one",
    "compute.instances.setMetadata": _AS_THE_TEMPLATE_SAYS,
    "compute.instances.setLabels": _AS_THE_TEMPLATE_SAYS,
    "compute.instances.setTags": _AS_THE_TEMPLATE_SAYS,
    "compute.instances.setServiceAccount": _AS_THE_TEMPLATE_SAYS,
    "compute.subnetworks.use": "its network and the IP",
    "compute.subnetworks.useExternalIp": "its network and the IP",
    "compute.addresses.use": "its network and the IP",
    "compute.addresses.get": "the address's state",
    "compute.instances.getGuestAttributes": _CERTIFICATE,
    "compute.instances.getSerialPortOutput": _CONSOLE,
    "compute.zoneOperations.get": _FOLLOW,
    "compute.instances.delete": "the end of it",
}
RELEASE: Permissions = {
    "compute.addresses.create": _IP_OF_THE_RUN,
    "compute.addresses.delete": _IP_OF_THE_RUN,
    "compute.regionOperations.get": _IP_OF_THE_RUN,
}
SWEEPER: Permissions = {
    "compute.instances.list": "all that carries our label",
    "compute.addresses.list": "all that carries our label",
    "compute.instances.get": _LOOK,
    "compute.instances.setMetadata": "the claim on a lease that is over",
    "compute.instances.getGuestAttributes": "the agent's certificate: is its run alive?",
    "compute.instances.stop": "VMs",
    "compute.instances.deleteAccessConfig": "their static IPs",
    "compute.addresses.get": "their static IPs",
    "compute.zoneOperations.get": _FOLLOW,
    "compute.instances.delete": "VMs made from templates",
    "compute.addresses.delete": "addresses that runs reserved",
    "compute.regionOperations.get": "addresses that runs reserved",
}

# On one resource alone.
ACTING: Permissions = {
    "iam.serviceAccounts.actAs": "`start`, `setMetadata` and (documented) `insert` of a VM that runs as that account",
}
STATE: Permissions = {
    "storage.objects.get": _LEASE,
    "storage.objects.list": "to hear of a lease that is not there that it is not",
    "storage.objects.create": _LEASE,
    "storage.objects.delete": "to replace an object is to delete the old one",
}
KEY: Permissions = {"secretmanager.versions.access": "`AUTH=api-key`: the agent's key"}
VM: Permissions = {
    "secretmanager.versions.access": "the secrets that the VM's metadata name, and no other: API keys, the jobs' own",
    "artifactregistry.repositories.downloadArtifacts": "to pull, if jobs are images of the repository",
}
SCHEDULER: Permissions = {
    "run.jobs.run": "the job, and the sweeper's",
    "run.jobs.runWithOverrides": "with arguments or variables of its own",
}


def _each(of: str, verbs: str, why: str) -> Permissions:
    """`compute.firewalls`, "create get" -> both, for the same."""
    return {f"{of}.{verb}": why for verb in verbs.split()}


DEPLOYER: Permissions = {
    **_each("serviceusage.services", "list enable", "the APIs"),
    **_each("artifactregistry.repositories", "create get update", "the repository"),
    "artifactregistry.tags.get": "which image a tag means",
    **_each("iam.serviceAccounts", "create get update getIamPolicy setIamPolicy", "the accounts"),
    "iam.serviceAccounts.actAs": "to give VM, jobs and schedules their accounts",
    **_each("iam.roles", "create get update undelete", "the custom roles"),
    **_each("resourcemanager.projects", "getIamPolicy setIamPolicy", "who has these roles"),
    **_each("secretmanager.secrets", "create get getIamPolicy setIamPolicy", "the secrets"),
    "secretmanager.versions.add": "their values, from stdin",
    **_each("compute.addresses", "create get", "the static IP"),
    "compute.addresses.setLabels": "its label",
    **_each("compute.instances", "create get stop setMetadata setLabels setTags", "the VM"),
    **_each("compute.instances", "setServiceAccount setScheduling setMachineType", "the VM"),
    "compute.disks.create": "the VM",
    "compute.subnetworks.use": "the VM",
    "compute.images.useReadOnly": "its image, if that is one of this project",
    **_each("compute.instanceTemplates", "create get delete", "or the template"),
    **_each("storage.buckets", "create get update getIamPolicy setIamPolicy", "and the bucket of `STATE_URL`"),
    **_each("compute.firewalls", "create get update", "the firewall rule"),
    "compute.networks.updatePolicy": "the firewall rule",
    **_each("run.jobs", "create get update getIamPolicy setIamPolicy", "the jobs"),
    **_each("cloudscheduler.jobs", "create get list update pause enable", "when they run"),
    "artifactregistry.repositories.downloadArtifacts": "to give the jobs an image, one must be allowed to pull it",
    "serviceusage.services.use": "the requests of a person's login, on its quota project; Google alone asks for it",
    **{f"compute.{scope}Operations.get": _FOLLOW for scope in ("zone", "region", "global")},
    "run.operations.get": _FOLLOW,
}
DESTROYER: Permissions = {
    "run.executions.list": "to wait for runs",
    "storage.objects.list": "to see whether a lease is left, or more",
    "storage.objects.delete": "the leases that are left",
    **{
        f"{of}.delete": "the end of each"
        for of in (
            *("run.jobs", "cloudscheduler.jobs", "compute.instances", "compute.addresses", "compute.firewalls"),
            *("secretmanager.secrets", "storage.buckets", "artifactregistry.repositories"),
            *("iam.roles", "iam.serviceAccounts"),
        )
    },
}

# Whoever looks on, from a laptop.
LOOKER: Permissions = {
    "serviceusage.services.list": "the APIs",
    **_each("compute.instances", "get list", "the VM, and others of ours"),
    "compute.projects.get": "metadata and quotas of the project",
    "compute.regions.get": "the quota of GPUs",
    **_each("compute.addresses", "get list", "the static IP, and others of ours"),
    "compute.firewalls.list": "the way to the agent",
    **_each("secretmanager.secrets", "get getIamPolicy", "the secrets, and who reads them"),
    "secretmanager.versions.get": "whether they have a value",
    "resourcemanager.projects.getIamPolicy": "what our accounts may do",
    "iam.roles.get": "what our accounts may do",
    "iam.serviceAccounts.getIamPolicy": "as whom they may act",
    "run.jobs.get": "the jobs",
    "artifactregistry.dockerimages.get": "their image",
    "cloudscheduler.jobs.list": "the next tick",
}
REMOTE: Permissions = {
    **_each("run.jobs", "run runWithOverrides", "`--remote`: the run, with its key"),
    **_each("run.executions", "get list", "`--remote`, `mayfly cancel`: how far it is, and which one has the key"),
    "run.jobs.get": "`--remote`: whether the job has a window of its own, ONCE_PER",
    "run.tasks.list": "`--remote`: its exit code",
    "logging.logEntries.list": "`--remote`, `mayfly logs --remote`: its lines and its receipt",
    "run.executions.cancel": "`mayfly cancel` of a run that Cloud Run holds",
}

# What Google's documentation leaves open, by table: needed in the emulator, which is strict.
UNDOCUMENTED: Mapping[str, frozenset[str]] = {
    "ORCHESTRATOR": frozenset({"compute.addresses.use"}),
    "ORCHESTRATOR_TEMPLATE": frozenset({"compute.addresses.use"}),
    "ACTING": frozenset({"iam.serviceAccounts.actAs"}),
    "STATE": frozenset({"storage.objects.list"}),
    "DEPLOYER": frozenset({"compute.addresses.setLabels"}),
}

# Documented, and never asked for by the emulator, which knows no quota projects and no bucket that drifted: that these
# are needed only Google could prove.
UNPROVEN = frozenset({"serviceusage.services.use", "storage.buckets.update"})
