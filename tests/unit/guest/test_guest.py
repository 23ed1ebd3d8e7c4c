"""Power: what starts, what ends, and that nothing is left of it."""

import asyncio

from tests.guests import AGuest, alive_in

ESCAPISTS = """#!/bin/bash
setsid sleep 1001 &
( ( setsid bash -c 'trap "" TERM HUP INT; while :; do sleep 1002; done' & ) & )
trap "" TERM
echo up
while :; do sleep 1003; done
"""


async def test_a_script_runs_on_a_disk_of_its_own_with_the_machines_environment(guest, isolation):
    await guest.boot(
        '#!/bin/bash\nid -u; echo "$HOME|$GCE_METADATA_HOST|${UV_CACHE_DIR-none}" | tee "$MAYFLY_ROOT/etc/x"'
    )
    await guest.says("startup-script exit status 0")
    assert (guest.disk / "etc/x").read_text() == f"{guest.disk}/root|127.0.0.1:9|none\n"
    assert f"isolation: {isolation.value}".encode() in guest.console


async def test_the_power_button_ends_willing_processes_at_once(guest):
    await guest.boot("#!/bin/bash\ntrap 'echo saving; exit 0' TERM\necho up\nwhile :; do sleep 0.1; done")
    await guest.says("up")
    await guest.guest.press_power_button(60)
    assert b"saving" in guest.console
    assert alive_in(guest.disk) == []
    assert guest.offs == 0, "the emulator did that itself: it is no news"


async def test_the_power_button_kills_after_the_grace_what_ignores_sigterm_or_has_left_its_session(guest):
    await guest.boot(ESCAPISTS)
    await guest.says("up")
    await guest.guest.press_power_button(0.3)
    assert alive_in(guest.disk) == []


async def test_pulling_the_plug_kills_everything_and_pulling_it_again_is_fine(guest):
    await guest.boot(ESCAPISTS)
    await guest.says("up")
    await guest.guest.pull_plug()
    assert alive_in(guest.disk) == []
    await guest.guest.pull_plug()


async def test_poweroff_inside_ends_it_and_is_told_once_its_processes_are_gone(guest):
    await guest.boot("#!/bin/bash\nsetsid sleep 1001 & sudo -n poweroff; sleep 1002")
    await guest.is_off()  # AGuest looks for processes when it is told
    assert guest.offs == 1


async def test_a_second_boot_finds_the_disk_but_not_run_and_tmp_and_has_a_new_boot_id(guest):
    script = '#!/bin/bash\ncd "$MAYFLY_ROOT"; touch tmp/mine run/mine var/mine; mkdir -p tmp/deep/er; poweroff'
    boot_id = guest.disk / "proc/sys/kernel/random/boot_id"
    await guest.boot(script)
    await guest.is_off()
    first = boot_id.read_text()
    await guest.boot("#!/bin/bash\ncd $MAYFLY_ROOT; echo tmp:$(ls -A tmp): var:$(ls var):; ls run/mine; poweroff")
    await guest.is_off(2)
    assert b"tmp:: var:lib mine:" in guest.console
    assert b"cannot access 'run/mine'" in guest.console
    assert boot_id.read_text() != first


async def test_a_reboot_inside_is_a_new_boot_and_no_news_to_the_emulator(guest):
    await guest.boot("#!/bin/bash\necho >>$HOME/boots; echo boot $(wc -l <$HOME/boots); reboot; sleep 1001")
    await guest.says("boot 3")
    assert guest.offs == 0
    await guest.guest.pull_plug()
    assert alive_in(guest.disk) == []


async def test_a_planned_shutdown_can_be_cancelled_and_now_means_now(guest):
    await guest.boot(
        "#!/bin/bash\nshutdown -h +0 & wait; shutdown +5; shutdown -c; shutdown -r 23:00; shutdown now; sleep 1001"
    )
    await guest.is_off()


async def test_a_service_starts_again_with_its_environment_and_folder_when_it_ends(guest):
    await guest.boot(
        """#!/bin/bash
        printf 'KEY="a \\\\"b\\\\" $c\\nd"\\n# a comment\\n' >$TMPDIR/env
        cd $HOME
        supervise agent $TMPDIR/env -- bash -c 'echo "[$KEY] in $PWD with $*"; exit 3' - "x y"
        """
    )
    await guest.says(f'[a "b" $c\nd] in {guest.disk}/root with x y', times=2)
    assert b"supervise: agent ended with status 3" in guest.console
    await guest.guest.press_power_button(5)
    assert alive_in(guest.disk) == []


async def test_what_has_no_meaning_here_is_said_on_the_console_and_not_done(guest):
    await guest.boot(
        """#!/bin/bash
        { systemctl daemon-reload; apt-get -y install git; mount -t tmpfs none /mnt; } >/dev/null 2>&1
        apt-get -y install no-such-package; echo apt: $?
        systemd-run --on-active=10m systemctl poweroff; echo timer: $?
        """
    )
    await guest.says("startup-script exit status 0")
    for words in "systemctl daemon-reload", "apt-get -y install git", "mount -t tmpfs none /mnt":
        assert f"not done, this machine is emulated: {words}".encode() in guest.console
    assert b"apt: 100" in guest.console
    assert b"timer: 1" in guest.console, "nobody may believe that a timer runs"


async def test_a_script_that_cannot_run_is_told_on_the_console_and_the_machine_stays_on(guest):
    await guest.boot("#!/no/such/interpreter\n")
    await guest.says("startup-script: ")
    assert guest.guest.running


async def test_a_flood_on_the_console_arrives_whole(guest):
    await guest.boot("#!/bin/bash\nhead -c 3000000 /dev/zero | tr '\\0' x; echo; poweroff")
    await guest.is_off()
    assert guest.console.count(b"x") >= 3_000_000


async def test_machines_live_side_by_side(guest, tmp_path, isolation):
    async with AGuest(tmp_path / "other", isolation=isolation) as other:
        await asyncio.gather(guest.boot(ESCAPISTS), other.boot(ESCAPISTS))
        await asyncio.gather(guest.says("up"), other.says("up"))
        await guest.guest.pull_plug()
        assert alive_in(guest.disk) == []
        assert other.guest.running
        assert alive_in(other.disk) != []
