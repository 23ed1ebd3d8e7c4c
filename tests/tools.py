"""What some tests need of the machine: without it they are skipped, and say which command enables them."""

import os
import shutil
import subprocess
from typing import NoReturn

import pytest

from gcp_emulator.guest import Isolation, strongest_isolation
from vm_agent.cgroups import writable_group

with_control_groups = pytest.mark.skipif(
    writable_group() is None,
    reason="no control group to write here; to run this test: as root, in a container with `docker run --privileged`",
)


def required_tool(name: str, how_to_get_it: str) -> str:
    """The path of a program."""
    return shutil.which(name) or absent(f"{name} is not installed; to run this test: {how_to_get_it}")


def require_namespaces() -> None:
    """Emulated VMs that are confined by the kernel."""
    if strongest_isolation() is not Isolation.NAMESPACES:
        pytest.skip(
            "we may make no namespaces here; to run this test: as root, in a container with `docker run --privileged`, "
            "or let users make them: `sysctl kernel.apparmor_restrict_unprivileged_userns=0` on Ubuntu"
        )


def require_other_users() -> None:
    """Root, who may make namespaces: in one of its own, an interpreter below root's home is opened to other users."""
    unshare = required_tool("unshare", "apt-get install util-linux")
    if (
        os.geteuid() != 0
        or subprocess.run([unshare, "--mount", "--net", "true"], check=False, capture_output=True).returncode
    ):
        absent(
            "we may be no other users here; to run this test: as root, in a container with `docker run --privileged`"
        )


def absent(reason: str, *, whole_module: bool = False) -> NoReturn:
    """Skip; fail with MAYFLY_REQUIRE_TOOLS=1, where all that can be installed has to be."""
    if os.environ.get("MAYFLY_REQUIRE_TOOLS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=whole_module)
