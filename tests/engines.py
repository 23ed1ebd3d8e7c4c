"""A real Docker Engine for tests, in namespaces of its own: its network, its mounts and its processes end with it.

Its network has a metadata server at 169.254.169.254, behind a link as on Compute Engine, and a real registry that
answers as us-docker.pkg.dev and wants a token of the VM's service account.
"""

import io
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from tests.tools import absent, required_tool

TOKEN = "ya29.the-token"
REPOSITORY = "us-docker.pkg.dev/p/jobs/box"
METADATA_TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"

_APPLETS = (
    "sh",
    "true",
    "cat",
    "cp",
    "dd",
    "echo",
    "env",
    "grep",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mkfifo",
    "nc",
    "sleep",
    "touch",
    "wget",
)
_HTPASSWD = "oauth2accesstoken:$2y$05$abcdefghijklmnopqrstuutIR5fJA/8W/6PhGAvNcBs2nquweZonG"  # of TOKEN
_REGISTRY = """
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: FOLDER/registry}}
http: {addr: "127.0.0.1:80"}
auth: {htpasswd: {realm: tests, path: FOLDER/htpasswd}}
"""
# Runs as the first process of its namespaces: when it dies, all of them do.
_MACHINE = """
set -e
mount -t tmpfs tmpfs /run
echo '127.0.0.1 localhost us-docker.pkg.dev' >hosts
mount --bind hosts /etc/hosts
ip link set lo up
unshare --net sleep infinity &
google=$!
while [ "$(readlink /proc/$google/ns/net)" = "$(readlink /proc/$$/ns/net)" ]; do sleep 0.01; done
ip link add google type veth peer name vm netns $google
ip addr add 169.254.0.1/16 dev google
ip link set google up
nsenter --net=/proc/$google/ns/net sh -c 'ip addr add 169.254.169.254/16 dev vm; ip link set vm up; ip link set lo up'
mkdir -p metadata/computeMetadata/v1/instance/service-accounts/default
echo 'the VM'\\''s own token' >metadata/computeMetadata/v1/instance/service-accounts/default/token
nsenter --net=/proc/$google/ns/net busybox httpd -p 80 -h metadata
nsenter --net=/proc/$google/ns/net busybox httpd -p 53 -h metadata # where its DNS server is
docker-registry serve registry.yml >registry.log 2>&1 &
dockerd --storage-driver=vfs --data-root "$PWD/data" --exec-root "$PWD/exec" --pidfile "$PWD/pid" \\
    --bip 172.31.250.1/24 --insecure-registry us-docker.pkg.dev --host "unix://$PWD/sock" >dockerd.log 2>&1 &
sleep infinity # an engine that was killed leaves its containers behind
"""


@dataclass(frozen=True)
class TestEngine:
    """A running engine whose files are in `folder`."""

    folder: Path
    machine: int  # pid of its first process, in whose namespaces everything is

    __test__ = False

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/sock"

    @property
    def api(self) -> docker.APIClient:
        return docker.APIClient(base_url=self.url, version="auto")

    @property
    def environment(self) -> dict[str, str]:
        """What an agent on this machine has in its environment."""
        return {"DOCKER_HOST": self.url, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"}

    def left(self) -> dict[str, object]:
        """What is there of containers; a network is the agent's own, and stays."""
        containers = [one["Names"] for one in self.api.containers(all=True)]
        volumes = [one["Name"] for one in self.api.volumes()["Volumes"] or []]
        networks = sorted(one["Name"] for one in self.api.networks())
        mounted = Path(f"/proc/{self.machine}/mounts").read_text().splitlines()
        mounts = [line for line in mounted if f"{self.folder}/data/" in line]
        return {"containers": containers, "volumes": volumes, "networks": networks, "mounts": mounts}

    def push(self, tag: str, image: str = "box:1") -> str:
        """Put the image into the registry, and give its digest there."""
        api = self.api
        api.tag(image, REPOSITORY, tag)
        credentials = {"username": "oauth2accesstoken", "password": TOKEN}
        for word in api.push(REPOSITORY, tag, stream=True, decode=True, auth_config=credentials):
            assert "error" not in word, word
            if "aux" in word:
                digest = word["aux"]["Digest"]
        api.remove_image(f"{REPOSITORY}:{tag}")
        return str(digest)

    def kill_engine(self) -> None:
        """As the kernel would; what it runs lives on."""
        os.kill(next(_pids_of("dockerd", self.machine)), signal.SIGKILL)


@contextmanager
def an_engine(folder: Path) -> Iterator[TestEngine]:
    """Started, with the image box:1 (a shell and little else), until the end of the block."""
    binaries = {name: required_tool(name, f"apt-get install {package}") for name, package in _TOOLS.items()}
    if os.geteuid() or subprocess.run([*_NAMESPACES, "mount", "-t", "tmpfs", "tmpfs", "/run"], check=False).returncode:
        pytest.skip("no namespaces here; to run this test: as root, in a container with `docker run --privileged`")
    (folder / "machine.sh").write_text(_MACHINE)
    (folder / "registry.yml").write_text(_REGISTRY.replace("FOLDER", str(folder)))
    (folder / "htpasswd").write_text(_HTPASSWD)
    with (folder / "machine.log").open("wb") as log:
        unshare = subprocess.Popen([*_NAMESPACES, "bash", "machine.sh"], cwd=folder, stdout=log, stderr=log)
    try:
        until_it_answers(folder, unshare)
        machine = int(Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split()[0])
        engine = TestEngine(folder, machine)
        _write_shims(engine, binaries)
        engine.api.import_image_from_data(_image(binaries["busybox"]), repository="box", tag="1")
        yield engine
    finally:
        unshare.kill()
        unshare.wait()


_TOOLS = {
    "dockerd": "docker.io",
    "docker-registry": "docker-registry",
    "busybox": "busybox-static",
    "iptables": "iptables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
_NAMESPACES = (
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
)


def until_it_answers(folder: Path, unshare: "subprocess.Popen[bytes]") -> None:
    """A daemon whose socket is in `folder`; without it, why."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            docker.APIClient(base_url=f"unix://{folder}/sock", version="auto").ping()
        except docker.errors.DockerException:
            if unshare.poll() is not None:
                break
            time.sleep(0.05)
        else:
            return
    logs = [(folder / name).read_text()[-2000:] for name in ("machine.log", "dockerd.log") if (folder / name).exists()]
    absent("dockerd does not start here: " + "\n".join(logs))


def _write_shims(engine: TestEngine, binaries: dict[str, str]) -> None:
    """The agent's commands act on the engine's network, as on a VM, where both have the same."""
    (engine.folder / "bin").mkdir()
    shim = engine.folder / "bin" / "iptables"
    shim.write_text(f'#!/bin/sh\nexec nsenter --net=/proc/{engine.machine}/ns/net {binaries["iptables"]} "$@"\n')
    shim.chmod(0o755)


def _image(busybox: str) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        folder = tarfile.TarInfo("bin")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        tar.add(busybox, "bin/busybox")
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return archive.getvalue()


def _pids_of(name: str, machine: int) -> Iterator[int]:
    """Processes of that name in the machine's pid namespace."""
    ours = Path(f"/proc/{machine}/ns/pid").readlink()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text().strip() == name and (folder / "ns/pid").readlink() == ours:
                yield int(folder.name)
        except OSError:
            continue


def script(text: str, image: str = "box:1") -> dict[str, object]:
    """The job that runs this in the image's shell."""
    return {"image": image, "arguments": ["/bin/sh", "-c", text]}
