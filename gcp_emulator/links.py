"""Links and keys. A key is a resource's path below the version: projects/P/zones/Z/instances/I."""

# As Compute Engine writes them, whatever host was asked: libcloud parses nothing else.
BASE = "https://www.googleapis.com/compute/v1/"


def link(key: str) -> str:
    """Write the selfLink of a key."""
    return BASE + key


def key_of(url: str) -> str:
    """Take the key out of a full or partial URL."""
    return url[url.find("projects/") :] if "projects/" in url else url


def scope_of(key: str) -> str:
    """Find what a resource lives in: projects/P/zones/Z, projects/P/regions/R."""
    return key.rsplit("/", 2)[0]


def short(key: str) -> str:
    """Name a resource as people do: instances/gpu-vm."""
    return "/".join(key.rsplit("/", 2)[-2:])


def last(url: str) -> str:
    """Give the name at the end of a URL, or the name itself: zones/Z/machineTypes/e2-medium, e2-medium."""
    return url.rsplit("/", 1)[-1]


def zone_key(project: str, zone: str) -> str:
    """projects/P/zones/Z."""
    return f"projects/{project}/zones/{zone}"


def region_key(project: str, region: str) -> str:
    """projects/P/regions/R."""
    return f"projects/{project}/regions/{region}"


def instance_key(project: str, zone: str, name: str) -> str:
    """projects/P/zones/Z/instances/I."""
    return f"projects/{project}/zones/{zone}/instances/{name}"


def disk_key(project: str, zone: str, name: str) -> str:
    """projects/P/zones/Z/disks/D."""
    return f"projects/{project}/zones/{zone}/disks/{name}"


def address_key(project: str, region: str, name: str) -> str:
    """projects/P/regions/R/addresses/A."""
    return f"projects/{project}/regions/{region}/addresses/{name}"
