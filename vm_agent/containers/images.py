"""Which image a run gets: always one exact image, named by its digest, however it was asked for."""

import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vm_agent.containers.engine import Engine
from vm_agent.containers.errors import NoEngine, NotRun
from vm_agent.link_local import is_link_local

# The registries that take the token of the VM's service account, which is shown to nobody else.
_GOOGLE = re.compile(r"([a-z0-9-]+\.)*(pkg\.dev|gcr\.io)")


@dataclass(frozen=True)
class Reference:
    """[host[:port]/]path, and its tag or digest."""

    repository: str
    tag: str
    digest: str | None

    @property
    def of_google(self) -> bool:
        """Whether Artifact Registry, or what came before it, has the image."""
        host, slash, _ = self.repository.partition(
            "/"
        )  # without one it is a name at Docker Hub, whatever it looks like
        return bool(slash and _GOOGLE.fullmatch(host))


def parsed(image: str) -> Reference:
    """The parts of a reference that protocol.ImageJob let through."""
    name, _, digest = image.partition("@")
    head, _, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return Reference(f"{head}/{last}" if head else last, tag or "latest", digest or None)


def pinned(engine: Engine, image: str, pull: str, token: Callable[[], str | None], say: Callable[[str], None]) -> str:
    """The name of exactly one image that is here: repository@digest, or its id if it came from no registry.

    pull: `always` asks the registry what a tag means now, `missing` only if there is no image of that name, `never`
    takes what is here. `say` is told of a pull before it begins.
    """
    wanted = parsed(image)
    name = f"{wanted.repository}@{wanted.digest}" if wanted.digest else f"{wanted.repository}:{wanted.tag}"
    here = engine.image(name)
    if here and (wanted.digest or pull != "always"):
        return next((one for one in here.digests if one.startswith(f"{wanted.repository}@")), here.id)
    if pull == "never":
        raise NotRun(f"the image {image} is not on this VM, and MAYFLY_CONTAINER_PULL=never forbids to pull it")
    _refuse_link_local(wanted)
    credentials = _credentials(wanted, token)
    try:
        digest = wanted.digest or engine.digest(name, credentials)
        exact = f"{wanted.repository}@{digest}"
        if not engine.image(exact):
            say(f"pulling {exact}")
            engine.pull(wanted.repository, digest, credentials)
    except NoEngine:
        raise
    except NotRun as problem:
        raise NotRun(
            f"the image {image} cannot be had: {problem}. {_advice(wanted, credentials, here=bool(here))}"
        ) from problem
    return exact


def _refuse_link_local(wanted: Reference) -> None:
    """The engine asks whom the name leads to, as root of the VM: no caller's name leads to the metadata server."""
    host, slash, _ = wanted.repository.partition("/")
    if not slash or not {".", ":"} & set(host):  # a name at Docker Hub
        return
    name, _, port = host.partition(":")
    try:
        found = socket.getaddrinfo(name, port or "https", type=socket.SOCK_STREAM)
    except OSError:  # the engine says it better
        return
    for *_, address in found:
        if is_link_local(str(address[0])):
            raise NotRun(f"the registry {host} is at a link-local address, {address[0]}, which no image comes from")


def _credentials(wanted: Reference, token: Callable[[], str | None]) -> Mapping[str, str] | None:
    """Google's registries take a token as a password; for others the engine's own configuration may have one."""
    if wanted.of_google and (secret := token()):
        return {"username": "oauth2accesstoken", "password": secret}
    return None


def _advice(wanted: Reference, credentials: Mapping[str, str] | None, *, here: bool) -> str:
    if here:
        return "An image of that name is on this VM: MAYFLY_CONTAINER_PULL=missing would take it"
    if wanted.of_google and not credentials:
        return "The metadata server gave no token: does the VM have a service account, with the scope cloud-platform?"
    if wanted.of_google:
        return "Is the name right, and may the VM's service account read it (roles/artifactregistry.reader)?"
    return "Is the name right, and may this VM reach and read it?"
