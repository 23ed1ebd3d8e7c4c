"""What a VM of ours is made of, and what startup.sh finds in its metadata: for an instance, and for a template."""

from datetime import timedelta

from mayfly.deploy.config import Config
from mayfly.deploy.identities import email_of
from mayfly.deploy.marks import LABELS
from mayfly.deploy.network import TAG
from mayfly.deploy.startup import HASH_ATTRIBUTE, SCRIPT_ATTRIBUTE, StartupScript
from orchestrator.google_admin import Json
from orchestrator.google_credentials import SCOPE
from orchestrator.settings import AgentTls, Auth, Settings
from vm_agent.protocol import LEASE_ATTRIBUTE

OTHERS = {LEASE_ATTRIBUTE, "mayfly-hold"}  # of our attributes those that runs and people write


def orchestrator_email(config: Config) -> str:
    """Who carries runs out."""
    return config.job.service_account or email_of(config.project, "mayfly-orchestrator")


def sweeper_email(config: Config) -> str:
    """Who finishes what dead runs left, and asks agents for that whether their run is alive."""
    return email_of(config.project, "mayfly-sweeper")


def vm_email(config: Config) -> str:
    """Who the VM is to Google."""
    return config.vm.service_account or email_of(config.project, "mayfly-vm")


def attributes(config: Config, script: StartupScript) -> dict[str, str]:
    """The VM's metadata; what [vm] metadata says comes last, and wins."""
    vm, own = config.vm, config.settings
    given = {
        "enable-guest-attributes": "TRUE",
        SCRIPT_ATTRIBUTE: script.text,
        HASH_ATTRIBUTE: script.sha256,
        "mayfly-source": vm.source,
        "mayfly-ref": vm.ref,
        "mayfly-extras": " ".join(vm.extras) or "none",
        "mayfly-auth": own.auth.value,
        "mayfly-callers": ",".join(dict.fromkeys([orchestrator_email(config), sweeper_email(config), *vm.callers])),
        "mayfly-agent-key": own.agent_key_secret if own.auth is Auth.API_KEY else None,
        "mayfly-secrets": " ".join(f"{name}={secret}" for name, secret in vm.secrets.items()),
        "mayfly-port": _unless_default("agent_port", own.agent_port, str(own.agent_port)),
        "mayfly-boot-minutes": _unless_default(
            "boot_timeout", own.boot_timeout, f"{own.boot_timeout / timedelta(minutes=1):g}"
        ),
        "mayfly-tls": "off" if own.agent_tls is AgentTls.OFF else None,
        "mayfly-require-gpu": "1" if vm.has_gpu else None,  # it is paid for: one that does not work is an error
    }
    return {name: value for name, value in given.items() if value} | vm.metadata


def _unless_default(name: str, value: object, text: str) -> str | None:
    return None if value == Settings.model_fields[name].default else text


def properties(config: Config, place: str) -> Json:
    """As both inserts take it, but for metadata and limit. `place` stands before names of types: "zones/Z/", or ""."""
    vm = config.vm
    disk = {
        "sourceImage": source_image(vm.image),
        "diskSizeGb": str(vm.disk_gb),
        "diskType": f"{_of(place, 'diskTypes')}{vm.disk_type}",
    }
    nic = {"network": f"projects/{config.project}/global/networks/{vm.network}"}
    if vm.subnetwork:
        nic["subnetwork"] = f"projects/{config.project}/regions/{config.settings.region}/subnetworks/{vm.subnetwork}"
    body: Json = {
        "machineType": f"{_of(place, 'machineTypes')}{vm.machine_type}",
        "labels": LABELS,
        "tags": {"items": [TAG]},
        "disks": [{"boot": True, "autoDelete": True, "initializeParams": disk}],
        "networkInterfaces": [nic],  # no external IP: runs attach the reserved one
        "serviceAccounts": [{"email": vm_email(config), "scopes": [SCOPE]}],
    }
    if vm.gpu:
        accelerator = {"acceleratorType": f"{_of(place, 'acceleratorTypes')}{vm.gpu}", "acceleratorCount": vm.gpu_count}
        body["guestAccelerators"] = [accelerator]
    return body


def _of(place: str, kind: str) -> str:
    return f"{place}{kind}/" if place else ""


def source_image(image: str) -> str:
    """PROJECT/FAMILY, or what the API calls an image."""
    if "/images/" in image:
        return image
    project, _, family = image.partition("/")
    return f"projects/{project}/global/images/family/{family}"


def scheduling(config: Config, limit: timedelta, action: str) -> Json:
    """It ends by itself, stays ended, and never moves to another host with its GPU."""
    return {
        "provisioningModel": "SPOT" if config.vm.spot else "STANDARD",
        "onHostMaintenance": "TERMINATE",
        "automaticRestart": False,
        "instanceTerminationAction": action,
        "maxRunDuration": {"seconds": str(int(limit.total_seconds()))},
    }


def items(of: dict[str, str]) -> list[Json]:
    """Metadata as the API takes it."""
    return [{"key": key, "value": value} for key, value in of.items()]


def metadata_of(document: Json) -> dict[str, str]:
    """Metadata as the API shows it, of an instance or of a template's properties."""
    return {item["key"]: item.get("value", "") for item in document.get("metadata", {}).get("items", [])}
