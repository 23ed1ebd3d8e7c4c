"""Which fields a reply of Google's always has, by API and type: discovery documents do not say, we have seen it."""

from collections.abc import Mapping, Sequence

Present = Mapping[str, Sequence[str]]

_POLICY = {"Policy": ["etag"], "Binding": ["role", "members"]}
_LONG_RUNNING = {"Operation": ["name"]}

_COMPUTE: Present = {
    "Instance": [
        *("kind", "id", "name", "zone", "selfLink", "status", "creationTimestamp", "machineType", "networkInterfaces"),
        *("disks", "metadata", "tags", "labelFingerprint", "fingerprint", "scheduling", "cpuPlatform"),
        *("startRestricted", "deletionProtection"),
    ],
    "Metadata": ["kind", "fingerprint"],
    "Tags": ["fingerprint"],
    "NetworkInterface": ["kind", "name", "network"],  # an instance's has more than a template's
    "AccessConfig": ["kind", "type", "name", "networkTier"],
    "Address": ["kind", "id", "name", "address", "status", "selfLink", "creationTimestamp", "addressType"],
    "Operation": [
        *("kind", "id", "name", "operationType", "status", "progress", "insertTime", "user", "selfLink"),
        *("targetLink", "targetId"),
    ],
    "Project": ["kind", "id", "name", "selfLink", "commonInstanceMetadata"],
    "Disk": ["kind", "id", "name", "sizeGb", "status", "selfLink", "type", "zone", "creationTimestamp"],
    "InstanceTemplate": ["kind", "id", "name", "selfLink", "creationTimestamp", "properties"],
    "InstanceTemplateAggregatedList": ["kind", "id", "items", "selfLink"],
    "Image": ["kind", "id", "name", "status", "selfLink", "creationTimestamp", "diskSizeGb"],
    "InstanceTemplateList": ["kind", "id", "selfLink"],
    "Zone": ["kind", "id", "name", "region", "status", "selfLink"],
    "Region": ["kind", "id", "name", "zones", "status", "selfLink"],
    "InstanceList": ["kind", "id", "selfLink"],
    "AddressList": ["kind", "id", "selfLink"],
    "OperationList": ["kind", "id", "selfLink"],
    "InstanceAggregatedList": ["kind", "id", "items", "selfLink"],
    "AddressAggregatedList": ["kind", "id", "items", "selfLink"],
    "GuestAttributes": ["kind", "selfLink"],
    "SerialPortOutput": ["kind", "contents", "next", "start", "selfLink"],
    "Firewall": [
        *("kind", "id", "name", "network", "selfLink", "creationTimestamp", "direction", "priority", "disabled"),
        *("logConfig", "description"),
    ],
    "FirewallList": ["kind", "id", "selfLink"],
    "Network": ["kind", "id", "name", "selfLink", "creationTimestamp", "autoCreateSubnetworks"],
    "NetworkList": ["kind", "id", "selfLink"],
    "Subnetwork": ["kind", "id", "name", "network", "region", "ipCidrRange", "selfLink", "creationTimestamp"],
    "SubnetworkList": ["kind", "id", "selfLink"],
    "AcceleratorType": ["kind", "id", "name", "zone", "selfLink", "maximumCardsPerInstance"],
    "AcceleratorTypeList": ["kind", "id", "selfLink"],
    "MachineType": ["kind", "id", "name", "zone", "selfLink", "guestCpus", "memoryMb"],
}

_STORAGE: Present = {
    "Bucket": [
        *("kind", "id", "name", "location", "storageClass", "metageneration", "timeCreated", "updated", "selfLink"),
    ],
    "Buckets": ["kind"],
    "Object": [
        *("kind", "id", "name", "bucket", "generation", "metageneration", "size", "crc32c", "md5Hash", "etag"),
        *("contentType", "storageClass", "timeCreated", "updated", "selfLink", "mediaLink"),
    ],
    "Objects": ["kind"],
    "Policy": ["kind", "etag", "resourceId"],
    "TestIamPermissionsResponse": ["kind"],
}

ALWAYS_PRESENT: Mapping[str, Present] = {
    "compute": _COMPUTE,
    "storage": _STORAGE,
    "secretmanager": {
        "Secret": ["name", "createTime", "replication"],
        "SecretVersion": ["name", "createTime", "state"],
        "AccessSecretVersionResponse": ["name", "payload"],
        "SecretPayload": ["data", "dataCrc32c"],
        **_POLICY,
    },
    "iam": {
        "ServiceAccount": ["name", "projectId", "uniqueId", "email", "etag", "oauth2ClientId"],
        "Role": ["name", "etag"],
        **_POLICY,
    },
    "cloudresourcemanager": {**_POLICY, **_LONG_RUNNING},  # the Projects of v1 and v3 have no name in common
    "serviceusage": {"GoogleApiServiceusageV1Service": ["name", "parent", "state"], **_LONG_RUNNING},
    "artifactregistry": {
        "Repository": ["name", "format", "createTime", "updateTime", "mode"],
        "DockerImage": ["name", "uri", "uploadTime", "mediaType"],
        "Tag": ["name", "version"],
        "Location": ["name", "locationId"],
        **_POLICY,
        **_LONG_RUNNING,
    },
}
