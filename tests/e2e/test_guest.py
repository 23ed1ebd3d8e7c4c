"""What an emulated VM can do to the machine underneath: nothing, and nothing of it outlives the emulator."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gcp_emulator.guest import Isolation
from tests.guests import AGuest, alive_in, all_begun, all_end
from tests.tools import require_namespaces

CHECKOUT = Path.cwd()
NAMESPACES = " ".join(str(Path("/proc/self/ns", name).readlink()) for name in ("pid", "mnt"))
HOSTILE = Path(__file__).with_name("hostile.sh")
EMULATOR = """
import asyncio, pathlib, sys
from gcp_emulator.guest import Isolation
from tests.guests import AGuest

async def main():
    guest = AGuest(pathlib.Path(sys.argv[1]), isolation=Isolation[sys.argv[2]])
    await guest.boot(sys.argv[3])
    await guest.says("up", times=4)
    print("up", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
ESCAPISTS = """#!/bin/bash
setsid bash -c 'echo up; sleep 1001' &
( ( setsid bash -c 'trap "" TERM HUP INT; echo up; while :; do sleep 1002; done' & ) & )
printf '' >$TMPDIR/none; supervise agent $TMPDIR/none -- bash -c 'echo up; sleep 1003'
for fd in /proc/$PPID/fd/*; do exec 9<>$fd; done # whatever init hears of the emulator's end by, keep it open
echo up
sleep 1004
"""


@pytest.mark.parametrize("isolation", list(Isolation), ids=lambda it: it.name.lower())
def test_an_emulator_killed_by_sigkill_leaves_no_process_behind(isolation, tmp_path):
    if isolation is Isolation.NAMESPACES:
        require_namespaces()
    command = [sys.executable, "-c", EMULATOR, str(tmp_path), isolation.name, ESCAPISTS]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as emulator:
        try:
            assert emulator.stdout.readline() == b"up\n"
            guests = all_begun(tmp_path, 5)
        finally:
            emulator.send_signal(signal.SIGKILL)
    assert len(guests) >= 5, "init, the script, two that left, the service"
    assert all_end(guests)
    assert alive_in(tmp_path) == []


async def test_a_hostile_script_leaves_the_host_unchanged(tmp_path):
    require_namespaces()
    (tmp_path / "canary").write_text("alive")
    (tmp_path / "neighbour").mkdir()
    canary = await asyncio.create_subprocess_exec("sleep", "600")
    before = _host()
    facts = {
        "HOST_NAMESPACES": NAMESPACES,
        "HOST_PID": str(os.getpid()),
        "HOST_CANARY": str(canary.pid),
        "HOST_FOLDER": str(tmp_path),
        "HOST_CHECKOUT": str(CHECKOUT),
    }
    async with AGuest(tmp_path / "disk", isolation=Isolation.NAMESPACES, **facts) as guest:
        await guest.boot(HOSTILE.read_text())
        await guest.says("reached the end")
        await guest.says("destroyed what it could")
        await guest.guest.pull_plug()
        assert "ESCAPED" not in guest.console.decode(errors="replace")

        await guest.boot("#!/bin/sh\necho it boots again; poweroff")
        await guest.says("it boots again")
        await guest.is_off()
    assert canary.returncode is None, "kill -9 -1 did not reach it"
    canary.kill()
    await canary.wait()
    assert (tmp_path / "canary").read_text() == "alive"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canary", "disk", "neighbour"]
    assert not (CHECKOUT / "mayfly-was-here").exists()
    assert _host() == before


async def test_links_planted_on_the_disk_lead_nowhere_at_the_next_boot(tmp_path):
    """The disk is prepared from inside: whatever a guest leaves there is only ever followed within its own limits."""
    require_namespaces()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("kept")
    async with AGuest(tmp_path / "disk", HOST_FOLDER=str(tmp_path)) as guest:
        await guest.boot(
            """#!/bin/bash
            cd $MAYFLY_ROOT; mv run old; mv tmp old-tmp; rm -rf proc
            for name in run tmp proc; do ln -s $HOST_FOLDER/precious $name; done
            echo planted
            """
        )
        await guest.says("planted")
        await guest.guest.pull_plug()
        await guest.boot("#!/bin/sh\npoweroff")
        await guest.is_off()
    assert [path.name for path in (tmp_path / "precious").iterdir()] == ["file"]
    assert (tmp_path / "precious/file").read_text() == "kept"


def _host() -> dict[str, object]:
    """What would be different, had a guest got through."""
    systemctl = shutil.which("systemctl") or "/bin/sh"
    return {
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text(),
        "name": socket.gethostname(),
        "mounts": Path("/proc/self/mounts").read_text(),
        "etc": {str(path): path.lstat().st_mtime_ns for path in [Path("/etc"), *Path("/etc").iterdir()]},
        "programs": [Path(program).stat().st_mtime_ns for program in (systemctl, "/usr/bin", "/usr/sbin")],
        "checkout": sorted(path.name for path in CHECKOUT.iterdir()),
    }
