"""The Docker Engine of this machine, through its own client, which nobody else imports. Foreign errors stop here."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from docker import APIClient  # type: ignore[import-untyped]
from docker.errors import APIError, DockerException, ImageNotFound, NotFound  # type: ignore[import-untyped]
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import RequestException

from vm_agent.containers import policy
from vm_agent.containers.errors import EngineLost, NoEngine, NotRun

_NO_GPU_DRIVER = "could not select device driver"  # as the engine says it
_CONFLICT = 409  # it is not running, or being removed already


@dataclass(frozen=True)
class Image:
    """An image that is here."""

    id: str
    digests: tuple[str, ...]  # repository@sha256:...; none if no registry knows it


@dataclass(frozen=True)
class End:
    """How a container ended."""

    exit_code: int
    out_of_memory: bool  # the kernel killed something in it at its memory limit


class Engine:
    """One connection to it. Not for two threads at once."""

    def __init__(self, url: str) -> None:
        try:
            self._api = APIClient(base_url=url, version="auto", timeout=policy.ENGINE_SECONDS)
        except DockerException as problem:
            raise NoEngine(
                f"no Docker Engine answers at {url} ({_words(problem)}). Install it on the VM "
                "(apt-get install docker.io), or take an image that has it"
            ) from problem

    def image(self, name: str) -> Image | None:
        """The image of that name, if it is here."""
        with _answering(f"look for the image {name}"), contextlib.suppress(ImageNotFound):
            found = self._api.inspect_image(name)
            return Image(found["Id"], tuple(found.get("RepoDigests") or ()))
        return None

    def digest(self, name: str, credentials: Mapping[str, str] | None) -> str:
        """What the image's registry says it is now: sha256:..."""
        with _answering(f"find the image {name}"):
            return str(self._api.inspect_distribution(name, auth_config=credentials)["Descriptor"]["digest"])

    def pull(self, repository: str, digest: str, credentials: Mapping[str, str] | None) -> None:
        """Bring exactly this image here."""
        with _answering(f"pull {repository}@{digest}"):
            for word in self._api.pull(repository, tag=digest, stream=True, decode=True, auth_config=credentials):
                if "error" in word:
                    raise NotRun(f"cannot pull {repository}@{digest}: {word['error']}")

    def network(self, name: str, options: Mapping[str, str]) -> Mapping[str, Any]:
        """The bridge network of that name, made with these driver options if there was none."""
        with _answering(f"make the network {name}"):
            with contextlib.suppress(NotFound):
                return dict(self._api.inspect_network(name))
            try:
                self._api.create_network(name, driver="bridge", options=dict(options), check_duplicate=True)
            except APIError as problem:
                if problem.status_code != _CONFLICT:  # else another run has just made it
                    raise
            return dict(self._api.inspect_network(name))

    def create(self, name: str, settings: Mapping[str, Any], host: Mapping[str, Any]) -> tuple[str, list[str]]:
        """A container that does not run yet: its id, and what the engine warns of. `host` is its HostConfig."""
        with _answering("make the container"):
            made = self._api.create_container(name=name, host_config=self._api.create_host_config(**host), **settings)
            return str(made["Id"]), list(made.get("Warnings") or [])

    def output(self, container: str) -> Iterator[bytes]:
        """What it writes from now on, as it comes. Ask before it is started."""
        with _answering("listen to the container"):
            chunks = self._api.attach(container, stdout=True, stderr=True, stream=True, logs=False)
        return _until_lost(chunks)

    def start(self, container: str) -> None:
        """Let it run."""
        with _answering("start the container"):
            self._api.start(container)

    def end(self, container: str) -> End:
        """How it ended, once it has."""
        try:
            code = self._api.wait(container, timeout=None)["StatusCode"]
            with contextlib.suppress(NotFound):  # somebody else has removed it
                return End(code, self._api.inspect_container(container)["State"]["OOMKilled"])
            return End(code, out_of_memory=False)
        except (DockerException, RequestException) as problem:
            raise EngineLost(f"the Docker Engine went away under the run: {_words(problem)}") from problem

    def signal(self, container: str, signal: str) -> None:
        """Send it to the container's first process. Fine if it has ended."""
        with contextlib.suppress(DockerException, RequestException):
            self._api.kill(container, signal)

    def labelled(self, label: str) -> dict[str, str]:
        """The containers that carry the label NAME=VALUE, with the engine's word for what each does: `running`, ..."""
        with _answering("list containers"):
            return {one["Id"]: one["State"] for one in self._api.containers(all=True, filters={"label": label})}

    def remove(self, container: str, grace_seconds: float) -> None:
        """Begin to end it and all that is its own: SIGTERM, and SIGKILL after the grace. Fine if it is gone."""
        with _answering("remove the container"), _gone_is_fine():
            if grace_seconds:
                self._api.stop(container, timeout=max(1, round(grace_seconds)))
            self._api.remove_container(container, v=True, force=True)


@contextlib.contextmanager
def _answering(to: str) -> Iterator[None]:
    """What the engine refuses is NotRun, its silence NoEngine."""
    try:
        yield
    except NoConnection as problem:
        raise NoEngine(f"cannot {to}: the Docker Engine is gone ({_words(problem)})") from problem
    except (DockerException, RequestException) as problem:
        raise NotRun(f"cannot {to}: {_words(problem)}") from problem


@contextlib.contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except APIError as problem:
        if not isinstance(problem, NotFound) and problem.status_code != _CONFLICT:
            raise


def _until_lost(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """An engine that goes away ends the output, too; how the container ended is asked next."""
    with contextlib.suppress(DockerException, RequestException, OSError):
        yield from chunks


def _words(problem: Exception) -> str:
    """The engine's own, where it said something."""
    words = str(getattr(problem, "explanation", None) or problem)
    if _NO_GPU_DRIVER in words:
        return (
            f"{words}. It cannot give the VM's GPUs to containers: install nvidia-container-toolkit on the VM, "
            "or leave them out with MAYFLY_CONTAINER_GPU=none"
        )
    return words
