"""What it takes to be allowed something: a permission on a resource."""

from dataclasses import dataclass

ACT_AS = "iam.serviceAccounts.actAs"
USE_ADDRESS = "compute.addresses.use"
USE_SUBNETWORK = "compute.subnetworks.use"
USE_EXTERNAL_IP = "compute.subnetworks.useExternalIp"
LIST_OBJECTS = "storage.objects.list"
RUN_WITH_OVERRIDES = "run.jobs.runWithOverrides"
UPDATE_NETWORK = "compute.networks.updatePolicy"
USE_TEMPLATE = "compute.instanceTemplates.useReadOnly"
USE_IMAGE = "compute.images.useReadOnly"
DOWNLOAD = "artifactregistry.repositories.downloadArtifacts"
# What no method is called by.
BESIDES = frozenset(
    {
        ACT_AS,
        USE_ADDRESS,
        USE_SUBNETWORK,
        USE_EXTERNAL_IP,
        LIST_OBJECTS,
        RUN_WITH_OVERRIDES,
        UPDATE_NETWORK,
        USE_TEMPLATE,
        USE_IMAGE,
    }
    | {f"compute.{name}" for name in ("disks.create", "instances.setTags", "instances.setServiceAccount")}
    | {f"artifactregistry.repositories.{name}loadArtifacts" for name in ("down", "up")}
)


@dataclass(frozen=True, slots=True)
class Need:
    """A permission, and the resource that it is needed on: projects/P, projects/P/zones/Z/instances/I."""

    permission: str
    resource: str
