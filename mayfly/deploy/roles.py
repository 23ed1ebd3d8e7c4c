"""The permissions that each of our accounts needs, and what for: docs/security.md has the same, in words."""

ORCHESTRATOR = {
    "compute.instances.get": "the look before every decision",
    "compute.instances.setMetadata": "the lease",
    "compute.instances.setScheduling": "the deadline",
    "compute.instances.start": "the VM",
    "compute.instances.stop": "the VM",
}
ORCHESTRATOR_TEMPLATE = {"compute.instances.create": "the VM"}
SWEEPER = {"compute.instances.list": "all that carries our label"}
VM = {"secretmanager.versions.access": "keys and secrets"}
SCHEDULER = {"run.jobs.run": "the job"}
DEPLOYER = {"compute.instances.create": "the VM"}
