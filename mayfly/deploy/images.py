"""Images by digest: a tag can be moved to another image between the deploy and the run."""

import re

from orchestrator.errors import BadUsage, NotFound
from orchestrator.google_admin import GoogleAdmin, Service
from orchestrator.google_errors import Subject

_DIGEST = r".+@sha256:[0-9a-f]{64}"
_TAGGED = (
    r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[^/]+)/(?P<repository>[^/]+)"
    r"/(?P<name>[^:@]+)(?::(?P<tag>[\w.-]+))?"
)


async def by_digest(google: GoogleAdmin, image: str) -> str:
    """The image itself. What is named by a tag is looked up in its Artifact Registry. BadUsage, NotFound."""
    if re.fullmatch(_DIGEST, image):
        return image
    match = re.fullmatch(_TAGGED, image)
    if match is None:
        raise BadUsage(
            f"The image {image} is neither named by its digest (NAME@sha256:...) nor in Artifact Registry "
            "(REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME), where its tag could be looked up."
        )
    repository = f"projects/{match['project']}/locations/{match['location']}/repositories/{match['repository']}"
    tag = match["tag"] or "latest"
    subject = Subject(f"look up the image {image}", f"There is no image {image}: push it first.")
    package = match["name"].replace("/", "%2F")
    found = await google.find(Service.REGISTRY, f"{repository}/packages/{package}/tags/{tag}", subject)
    if found is None:
        raise NotFound(subject.missing)
    return f"{image.removesuffix(f':{tag}')}@{found['version'].rpartition('/')[2]}"
