"""Puts a program into a machine of its own: `python -I confine.py PLAN program arguments...`

Linux only; needs root, or a kernel that lets anybody make user namespaces. The program becomes PID 1 of new PID, mount,
IPC and UTS namespaces, so its end is the end of everything it ever started, setsid'd or not: the kernel sees to that.

What it finds there
- the whole file system, read-only; only PLAN's `writable` folders can be written
- /tmp, /var/tmp, /run and /dev of its own: no host sockets (systemd, docker, dbus), no disks; GPUs stay
- a read-only /proc that shows its own processes only: no sysrq, no sysctl
- PLAN's `shims` in place of the programs of the same name, by absolute path too
- few capabilities: no mounting, rebooting, loading of modules, making of devices, setting of clocks or networks
Shared on purpose: the network (a VM is a loopback address), CPUs and memory. It can read what the emulator's user can.

This process stays outside, as the keeper: it kills PID 1 on SIGTERM and when its standard input, a socket whose other
end only the emulator holds, is closed. Exits as PID 1 did. A step that fails is an error: nothing runs half confined.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

COVERED = {"/tmp": "mode=1777", "/var/tmp": "mode=1777", "/run": "mode=755", "/dev": "mode=755"}  # noqa: S108
DEVICES = ["null", "zero", "full", "random", "urandom", "tty", "nvidia*", "dri", "kfd"]
PROGRAM_FOLDERS = ["/sbin", "/bin", "/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
# What an ordinary root script needs on its own files and processes: chown, dac_override, fowner, fsetid, kill, setgid,
# setuid, net_bind_service. Not dac_read_search (it opens files by handle, past the mounts) nor sys_boot (also kexec).
CAPABILITIES_KEPT = [0, 1, 3, 4, 5, 6, 7, 10]

COPIED = {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_REC, MS_PRIVATE, MNT_DETACH = (
    1,
    2,
    4,
    8,
    0x20,
    0x4000,
    0x40000,
    2,
)
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_MOUNT_SETATTR = 428, 429, 442  # the same number on every architecture
OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH, AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = 1, 4, -100, 0x1000, 0x8000
PR_SET_PDEATHSIG, PR_CAPBSET_DROP = 1, 24

_libc = ctypes.CDLL(None, use_errno=True)


def main(plan_json: str, program: list[str]) -> int:
    """Confine the program and keep it: returns its exit status once its last process is gone."""
    plan = json.loads(plan_json)
    _enter_namespaces()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until there is somebody to kill
    child = os.fork()
    if child == 0:
        try:
            _become(plan, program)
        except BaseException as error:  # noqa: BLE001  (the fork must not return into the keeper's code)
            os.write(2, f"mayfly: this machine cannot be confined: {error!r}\n".encode())
        os._exit(70)
    return _keep(child)


def _enter_namespaces() -> None:
    """Leave the host's namespaces; without root, by way of a user namespace in which we look like root."""
    flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        _call("unshare", flags)
        return
    _call("unshare", flags | CLONE_NEWUSER)
    for file, line in {"setgroups": "deny", "uid_map": f"0 {uid} 1", "gid_map": f"0 {gid} 1"}.items():
        Path("/proc/self", file).write_text(line)


def _keep(child: int) -> int:
    """Wait for PID 1; kill it when told to, or when the emulator is no more."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(0, select.POLLRDHUP)  # hang-ups only: what arrives there is for PID 1 to read
    while all(fd != ended for fd, _ in poll.poll()):
        os.kill(child, signal.SIGKILL)
        poll.unregister(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _become(plan: dict[str, Any], program: list[str]) -> NoReturn:
    """PID 1 of the new machine: make its file system, give up every power over the host, run the program."""
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)  # if the keeper is killed
    os.setsid()
    if plan["disk_room_bytes"] is not None:
        _make_small(plan["writable"][0], plan["disk_room_bytes"])
    _build_file_system(plan["readable"], plan["writable"], plan["shims"])
    socket.sethostname(plan["name"])
    _drop_capabilities()
    os.chdir(plan["writable"][0])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.execv(program[0], program)  # noqa: S606


def _build_file_system(readable: list[str], writable: list[str], shims: str) -> None:
    """Copies of what stays reachable are taken first, then all is sealed and covered, then the copies are put back."""
    _mount("none", "/", None, MS_REC | MS_PRIVATE)  # before all else: nothing we mount may show on the host
    devices = _copies(str(path) for name in DEVICES for path in Path("/dev").glob(name))
    covers = {place: _copy(shim) for shim, place in _places_of(shims)}
    name_servers = str(Path("/etc/resolv.conf").resolve())  # often a link into /run
    kept = dict.fromkeys([*readable, name_servers], ATTR_RDONLY) | dict.fromkeys(writable, 0)
    copies = _copies(sorted(kept, key=len))  # parents before what lies in them

    _set_attributes(AT_FDCWD, "/", ATTR_RDONLY | ATTR_NODEV | ATTR_NOSUID)
    for folder, options in COVERED.items():
        if Path(folder).is_dir():
            _mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, options)
    for path, copy in copies.items():
        _set_attributes(copy, "", kept[path] | ATTR_NODEV | ATTR_NOSUID)
        _put(copy, path)
    for place, copy in (covers | devices).items():
        _put(copy, place)
    _finish_dev()
    _mount("proc", "/proc", "proc", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _make_small(disk: str, room: int) -> None:
    """Cover the disk by one in memory, with the same on it and this much room. It does not outlive this boot."""
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    with tempfile.TemporaryDirectory() as aside:
        _mount("tmpfs", aside, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        shutil.copytree(disk, aside, symlinks=True, dirs_exist_ok=True, ignore=_no_files)
        folder = os.statvfs(aside)
        used = (folder.f_blocks - folder.f_bfree) * folder.f_frsize
        _mount("tmpfs", aside, None, MS_REMOUNT | MS_NOSUID | MS_NODEV, f"size={max(used + room, folder.f_frsize)}")
        _put(_copy(aside), disk)
        _call("umount2", aside.encode(), MNT_DETACH, about=aside)


def _no_files(folder: str, names: list[str]) -> list[str]:
    """Of a folder, what is no copy of anything: pipes and sockets, which each boot makes anew."""
    return [name for name in names if stat.S_IFMT(Path(folder, name).lstat().st_mode) not in COPIED]


def _places_of(shims: str) -> Iterable[tuple[str, str]]:
    """(shim, real path of a program of that name). A multi-call binary (busybox) under another name is left alone."""
    names = {shim.name for shim in Path(shims).iterdir()}
    for name in names:
        for folder in PROGRAM_FOLDERS:
            place = Path(folder, name).resolve()
            if place.is_file() and place.name in names:
                yield str(Path(shims, name).resolve()), str(place)


def _finish_dev() -> None:
    for name, target in {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}.items():
        Path("/dev", name).symlink_to(f"/proc/self/fd{target}")
    Path("/dev/shm").mkdir()  # noqa: S108
    Path("/dev/shm").chmod(0o1777)  # noqa: S108
    Path("/dev/pts").mkdir()
    _mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    Path("/dev/ptmx").symlink_to("pts/ptmx")


def _drop_capabilities() -> None:
    """From the bounding set, so that no exec gives them back, and from our own."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in set(range(last + 1)) - set(CAPABILITIES_KEPT):
        _call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    kept = sum(1 << capability for capability in CAPABILITIES_KEPT)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)(kept, kept)  # low words: effective, permitted, inheritable (none); high words: none
    _call("capset", header, sets)


# Mounts, by the calls that know copies which hang nowhere yet (Linux 5.12)


def _copies(paths: Iterable[str]) -> dict[str, int]:
    return {path: _copy(path) for path in paths if Path(path).exists()}


def _copy(path: str) -> int:
    flags = OPEN_TREE_CLONE | os.O_CLOEXEC | AT_RECURSIVE
    return _call("syscall", SYS_OPEN_TREE, AT_FDCWD, path.encode(), flags)


def _put(copy: int, path: str) -> None:
    place = Path(path)
    if not place.exists():  # it lay under a cover
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir() if stat.S_ISDIR(os.fstat(copy).st_mode) else place.touch()
    _call("syscall", SYS_MOVE_MOUNT, copy, b"", AT_FDCWD, path.encode(), MOVE_MOUNT_F_EMPTY_PATH)


def _set_attributes(folder_fd: int, path: str, attributes: int) -> None:
    request = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)  # set, clear, propagation, user namespace
    flags = AT_RECURSIVE | (0 if path else AT_EMPTY_PATH)
    size = ctypes.c_size_t(ctypes.sizeof(request))
    _call("syscall", SYS_MOUNT_SETATTR, folder_fd, path.encode(), flags, ctypes.byref(request), size)


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    kind_bytes, options_bytes = kind and kind.encode(), options and options.encode()
    _call("mount", source.encode(), target.encode(), kind_bytes, ctypes.c_ulong(flags), options_bytes, about=target)


def _call(function: str, *arguments: object, about: str = "") -> int:
    result: int = _libc[function](*(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function} {about or arguments[:1]}: {os.strerror(number)}")
    return result


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], [shutil.which(sys.argv[2]) or sys.argv[2], *sys.argv[3:]]))
    except OSError as error:
        sys.exit(f"mayfly: this machine cannot be confined: {error}")
