"""The Dockerfile, built by a real Docker Engine with no image from anywhere: its bases are made of Debian's packages.

The engine has this machine's network, as a laptop's `docker run --network host` has: its containers reach the emulator.
"""

import fcntl
import os
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.engines import until_it_answers
from tests.tools import required_tool

CHECKOUT = Path(__file__).parents[1]
ORCHESTRATOR, AGENT = "mayfly:built", "mayfly-agent:built"
TARGETS = {ORCHESTRATOR: None, AGENT: "agent"}
ADDED = "tenacity"  # to the agent's, whose extra has it not
MIRROR = "http://deb.debian.org/debian"
AUTHORITIES = "etc/ssl/certs/ca-certificates.crt"  # this machine's: what is between it and PyPI may have one of its own

# What gcr.io/distroless/python3-debian12 is made of; the base to build in has all that debootstrap resolves.
DISTROLESS = (
    *("base-files", "netbase", "tzdata", "libc6", "libcrypt1", "libgcc-s1", "libstdc++6", "zlib1g", "libssl3"),
    *("python3-minimal", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libexpat1"),
    *("libffi8", "libsqlite3-0", "libbz2-1.0", "liblzma5", "libuuid1", "libncursesw6", "libtinfo6", "libreadline8"),
    *("libdb5.3", "libnsl2", "libtirpc3", "libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libkrb5support0"),
    *("libcom-err2", "libkeyutils1"),
)
# The first process of its namespaces, with which all others end. Layers are in memory: nobody needs them tomorrow.
_MACHINE = """
set -e
mount -t tmpfs tmpfs /run
mkdir data && mount -t tmpfs -o size=4g tmpfs data
exec dockerd --storage-driver=overlay2 --data-root "$PWD/data" --exec-root "$PWD/exec" --pidfile "$PWD/pid" \\
    --bridge=none --iptables=false --host "unix://$PWD/sock" >dockerd.log 2>&1
"""
_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


@dataclass(frozen=True)
class Images:
    """An engine that has both of our images, and how much they took."""

    api: docker.APIClient

    def size_mb(self, image: str) -> float:
        """All layers, unpacked; 1 MB is a million bytes, as Docker counts."""
        return float(self.api.inspect_image(image)["Size"]) / 1e6

    @contextmanager
    def running(
        self,
        image: str,
        command: Sequence[str] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        **container: Any,
    ) -> Iterator[str]:
        """A started container on this machine's network, as read-only as its root can be; killed with the block."""
        settings = {"read_only": True, "network_mode": "host", "cap_drop": ["ALL"]} | container.pop("host", {})
        made = self.api.create_container(
            image,
            command=list(command) if command is not None else None,
            environment=dict(environment or {}),
            host_config=self.api.create_host_config(**settings),
            **container,
        )["Id"]
        try:
            self.api.start(made)
            yield made
        finally:
            self.api.remove_container(made, force=True)

    def run(self, image: str, command: Sequence[str] | None = None, **settings: Any) -> "Ended":
        """A container from its start to its end."""
        with self.running(image, command, **settings) as container:
            return self.end_of(container)

    def end_of(self, container: str) -> "Ended":
        """Wait for it."""
        code = self.api.wait(container, timeout=120)["StatusCode"]
        out = self.api.logs(container, stdout=True, stderr=False).decode()
        return Ended(code, out, self.api.logs(container, stdout=False, stderr=True).decode())


@dataclass(frozen=True)
class Ended:
    """How a container ended, and what it said."""

    code: int
    stdout: str
    stderr: str


@contextmanager
def built_images(folder: Path, shared: Path) -> Iterator[Images]:
    """Both images; in one run of pytest the first worker that asks builds them, and leaves them in `shared`."""
    with _an_engine(folder) as api, (shared / "images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        saved = {image: shared / f"{image.partition(':')[0]}.tar" for image in TARGETS}
        if all(archive.exists() for archive in saved.values()):
            for archive in saved.values():
                with archive.open("rb") as content:
                    api.load_image(content)
        else:
            _build(api, folder)
            for image, archive in saved.items():
                _save(api, image, archive)
        fcntl.flock(lock, fcntl.LOCK_UN)
        yield Images(api)


@contextmanager
def _an_engine(folder: Path) -> Iterator[docker.APIClient]:
    for name, package in {"dockerd": "docker.io", "debootstrap": "debootstrap", "unshare": "util-linux"}.items():
        required_tool(name, f"apt-get install {package}")
    if os.geteuid() or subprocess.run([*_NAMESPACES, "mount", "-t", "tmpfs", "tmpfs", "/run"], check=False).returncode:
        pytest.skip("no namespaces here; to run this test: as root, in a container with `docker run --privileged`")
    (folder / "machine.sh").write_text(_MACHINE)
    with (folder / "machine.log").open("wb") as log:
        command = ["setpriv", "--pdeathsig", "KILL", *_NAMESPACES, "bash", "machine.sh"]
        machine = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        until_it_answers(folder, machine)
        yield docker.APIClient(base_url=f"unix://{folder}/sock", version="auto", timeout=600)
    finally:
        machine.kill()
        machine.wait()


def _build(api: docker.APIClient, folder: Path) -> None:
    packages = _fetch_packages(folder / "debian")
    names = {package.name.partition("_")[0]: package for package in packages}
    _import(api, "build-base", _unpack(packages, folder / "build-base"))
    _import(api, "base", _unpack([names[name] for name in DISTROLESS], folder / "base"))
    proxies = {name: value for name, value in os.environ.items() if name.lower() in {"https_proxy", "no_proxy"}}
    arguments = {
        "BUILD_BASE": "build-base:1",
        "BASE": "base:1",
        "AGENT_EXTRAS": "agent",
        "AGENT_PACKAGES": ADDED,
        **proxies,
    }
    for tag, target in TARGETS.items():
        said = []
        for word in api.build(
            path=str(CHECKOUT),
            tag=tag,
            target=target,
            buildargs=arguments | proxies,
            network_mode="host",
            rm=True,
            decode=True,
        ):
            said.append(word.get("stream", ""))
            assert "error" not in word, "".join([*said[-60:], word["error"]])


def _fetch_packages(folder: Path) -> list[Path]:
    """By debootstrap, which checks their signatures and resolves what they depend on."""
    command = ["debootstrap", "--variant=minbase", "--download-only", "--include=netbase,python3-venv", "bookworm"]
    told = subprocess.run([*command, folder, MIRROR], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout[-2000:] + told.stderr
    return sorted((folder / "var/cache/apt/archives").glob("*.deb"))


def _unpack(packages: Sequence[Path], root: Path) -> Path:
    """As distroless images are made: no script of a package runs."""
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in packages:
        unpacked = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", root], stdin=unpacked.stdout, check=True)
        assert unpacked.wait() == 0
    for name, line in {"passwd": "root:x:0:0:root:/root:/sbin/nologin\n", "group": "root:x:0:\n"}.items():
        (root / "etc" / name).write_text(line)
    (root / AUTHORITIES).parent.mkdir(parents=True, exist_ok=True)
    (root / AUTHORITIES).write_bytes(Path("/", AUTHORITIES).read_bytes())
    return root


def _import(api: docker.APIClient, name: str, root: Path) -> None:
    archive = root.with_suffix(".tar")
    with tarfile.open(archive, "w") as tar:
        tar.add(root, ".")
    variables = " ".join(f"{name}=/{AUTHORITIES}" for name in ("SSL_CERT_FILE", "PIP_CERT"))
    with archive.open("rb") as content:
        told = api.import_image_from_data(content, repository=name, tag="1", changes=[f"ENV {variables}"])
    assert "error" not in told, told


def _save(api: docker.APIClient, image: str, archive: Path) -> None:
    """Renamed when it is whole."""
    partial = archive.with_suffix(".partial")
    with partial.open("wb") as file:
        for chunk in api.get_image(image):
            file.write(chunk)
    partial.rename(archive)
