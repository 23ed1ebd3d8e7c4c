#!/bin/bash
# What a guest must not be able to do to the machine underneath. Whatever succeeds says ESCAPED.
# HOST_* come from the test, and are numbers and paths of the real host.
for space in pid mnt; do # never do any of this outside an emulated VM
    [[ $(readlink /proc/self/ns/$space) != "$HOST_NAMESPACES"* ]] || exit 1
    [[ " $HOST_NAMESPACES " != *" $(readlink /proc/self/ns/$space) "* ]] || exit 1
done
exec 2>&1

must_fail() { ! "$@" >/dev/null 2>&1 || echo "ESCAPED: $*"; }

if [[ ! -e $HOME/been-here ]]; then
    touch "$HOME/been-here"
    kill -9 -1
    kill -9 "$HOST_PID" "$HOST_CANARY"
    for place in /etc /usr/bin /root /boot /var/lib; do
        must_fail touch "$place/mayfly-was-here"
    done
    must_fail sh -c 'echo mayfly >>/etc/passwd'
    rm -f "$HOST_FOLDER/canary" /etc/hostname
    touch "$HOST_FOLDER/mayfly-was-here" "$HOST_CHECKOUT/mayfly-was-here" # at best in a /tmp of its own
    must_fail ls /run/systemd/private /run/docker.sock /run/dbus/system_bus_socket
    systemctl stop ssh
    systemctl --force --force halt-nothing
    python3 - <<'PYTHON'
import ctypes, os, socket, time
libc = ctypes.CDLL(None, use_errno=True)

def must_fail(what, act):
    try:
        result = act()
    except OSError:
        return
    if not (isinstance(result, int) and result < 0):
        print("ESCAPED:", what, result, flush=True)

def opens(path, flags):
    os.close(os.open(path, flags))

must_fail("reboot(2)", lambda: libc.reboot(0))  # Ctrl-Alt-Del off: needs the same right as a power-off
must_fail("mount(2)", lambda: libc.mount(b"none", os.environ["TMPDIR"].encode(), b"tmpfs", 0, None))
must_fail("umount(2)", lambda: libc.umount2(b"/run", 2))
must_fail("remount", lambda: libc.mount(b"none", b"/", None, 32 | 4096, None))
must_fail("mknod", lambda: os.mknod(os.environ["TMPDIR"] + "/disk", 0o60600, os.makedev(254, 0)))
must_fail("clock", lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()))
must_fail("setns", lambda: libc.setns(os.open("/proc/1/ns/mnt", os.O_RDONLY), 0))
must_fail("raw socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close())
must_fail("module", lambda: libc.syscall(175 if os.uname().machine == "x86_64" else 105, b"", 0, b""))
for path in "/proc/sysrq-trigger", "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches", "/sys/power/state":
    if os.path.exists(path):
        must_fail(path, lambda: opens(path, os.O_WRONLY))
for block in os.listdir("/sys/class/block"):
    must_fail("/dev/" + block, lambda: opens("/dev/" + block, os.O_RDONLY))
if libc.unshare(0x10000000 | 0x20000) == 0:  # root of a user namespace of its own
    must_fail("remount in a user namespace", lambda: libc.mount(b"none", b"/etc", None, 32 | 4096, None))
    must_fail("uncover in a user namespace", lambda: libc.umount2(b"/run", 2))
    must_fail("uncover a program", lambda: libc.umount2(os.path.realpath("/sbin/poweroff").encode(), 2))
PYTHON
    echo "reached the end"
    if [[ -x /sbin/reboot ]]; then env -i /sbin/reboot -f; else reboot -f; fi # a container's image has none
    sleep 1000
fi
rm -rf "${MAYFLY_ROOT:?}"/../* "${MAYFLY_ROOT:?}"/..?* "${MAYFLY_ROOT:?}"/.[!.]*
echo "destroyed what it could"
/sbin/poweroff
shutdown now
sleep 1000
