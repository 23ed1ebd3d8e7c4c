"""startup.sh as it is, in an emulated VM, with a small project in place of ours and a small agent in place of ours."""

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from gcp_emulator.guest import Isolation
from tests.e2e.google import TOKEN, Google
from tests.guests import AGuest, alive_in
from tests.tools import require_namespaces, required_tool

SCRIPT = Path("startup.sh").read_text()
CALLERS = "mayfly@demo.iam.gserviceaccount.com, me@demo.iam.gserviceaccount.com"
AGENT = """
import http.server, json, os, sys
print("agent started with", sys.argv, flush=True)
class Door(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(dict(os.environ) | {"cwd": os.getcwd(), "pid": os.getpid()}).encode()
        self.send_response(503)
        self.end_headers()
        self.wfile.write(body)
        if self.path == "/die":
            os._exit(1)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["AGENT_PORT"])), Door).serve_forever()
"""
#: Turns the rest of the script's machine into one with systemd, or with what startup.sh can see of it.
SYSTEMD = r"""#!/bin/bash
export SUPERVISE=$MAYFLY_SUPERVISOR PATH=$HOME/bin:$PATH
unset MAYFLY_SUPERVISOR
mkdir -p /run/systemd/system "$HOME/bin"
cat >"$HOME/bin/systemd-run" <<'END'
#!/bin/bash
echo "called: systemd-run ${*%%$'\n'*}"
while [[ $1 == --* ]]; do shift; done
for word; do # as systemd does: ${NAME} is a setting of the service's, and there is none; $$ is a dollar
    words+=("$(sed -zE 's/\$\$/\x01/g; s/\$\{[^}]*\}//g; s/\x01/$/g' <<<"$word")")
done
setsid "${words[@]}" &
END
cat >"$HOME/bin/systemctl" <<'END'
#!/bin/bash
echo "called: systemctl $*"
[[ "$*" == "restart mayfly-agent.service" ]] || exit 0
unit=/run/systemd/system/mayfly-agent.service
cp $unit "$HOME/mayfly-agent.service"
cd "$(sed -n 's/^WorkingDirectory=//p' $unit)"
"$SUPERVISE" agent "$(sed -n 's/^EnvironmentFile=//p' $unit)" -- $(sed -n 's/^ExecStart=//p' $unit)
END
chmod +x "$HOME"/bin/*
"""
PROJECT = """
[project]
name = "stand-in"
version = "1"
requires-python = ">=3.11"
[project.optional-dependencies]
agent = []
transcribe = []
[tool.uv]
package = false
"""


@pytest.fixture
def repository(tmp_path):
    """A git repository with a project whose agent answers everything with its environment."""
    folder = tmp_path / "repository"
    (folder / "vm_agent").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "vm_agent/__main__.py").write_text(AGENT)
    subprocess.run(["uv", "lock", "--offline", "--quiet"], cwd=folder, check=True, env=_with_uv())
    _git(folder, "init", "--quiet", "--initial-branch=main")
    _commit(folder, "one")
    _git(folder, "tag", "v1")
    return folder


@pytest.fixture
def google(repository):
    with Google() as google, socket.create_server(("127.0.0.1", 0)) as free:
        google.attributes = {
            "mayfly-source": str(repository),
            "mayfly-ref": "v1",
            "mayfly-extras": "agent transcribe",
            "mayfly-port": str(free.getsockname()[1]),
            "mayfly-lease": json.dumps({"nonce": "x", "epoch": 1763700000, "key": "k"}),
        }
        google.attributes |= {"mayfly-auth": "both", "mayfly-callers": CALLERS, "mayfly-tls": "off"}
        google.secrets = {"mayfly-agent-key/versions/latest": b"the-key"}
        free.close()
        yield google


@pytest.fixture
async def vm(tmp_path, repository, google):
    environment = {"SECRET_MANAGER_EMULATOR_HOST": google.host, "PATH": _with_uv()["PATH"], "UV_OFFLINE": "1"}
    environment |= {"UV_CACHE_DIR": str(tmp_path / "cache"), "MAYFLY_CERTS_URL": f"http://{google.host}/certs"}
    async with AGuest(tmp_path / "disk", readable=[repository], **environment) as vm:
        yield vm


async def test_the_first_boot_ends_with_an_agent_that_is_kept_alive(vm, google):
    google.secrets["exchange/versions/7"] = b'line one\nline "two" \\ $HOME `id`\n'
    google.attributes |= {"mayfly-secrets": "EXCHANGE=exchange/7", "mayfly-job": "trade:run"}
    google.attributes["mayfly-require-gpu"] = "1"
    google.attributes |= {"mayfly-container-memory": "8g", "mayfly-job-metadata": "allow"}
    await _boot(vm, google)
    agent = _ask(google)

    assert (agent["MAYFLY_AUTH"], agent["MAYFLY_CALLERS"]) == ("both", CALLERS)
    assert agent["MAYFLY_API_KEY"].split() == ["the-key"]
    assert agent["MAYFLY_TLS"] == "off"
    assert agent["MAYFLY_CERTS_URL"] == f"http://{google.host}/certs"
    assert agent["EXCHANGE"] == 'line one\nline "two" \\ $HOME `id`'
    assert agent["MAYFLY_JOB"] == "trade:run"
    assert agent["MAYFLY_REQUIRE_GPU"] == "1"
    assert (agent["MAYFLY_CONTAINER_MEMORY"], agent["MAYFLY_JOB_METADATA"]) == ("8g", "allow")
    assert agent["MAYFLY_ROOT"] == str(vm.disk)
    assert agent["GCE_METADATA_HOST"] == google.host
    assert agent["cwd"] == f"{vm.disk}/opt/mayfly/src"
    assert stat.S_IMODE((vm.disk / "etc/mayfly/agent.env").stat().st_mode) == 0o600
    assert [(report["stage"], report["status"]) for report in google.reports] == [
        ("code", "starting"),
        ("secrets", "starting"),
        ("dependencies", "starting"),
        ("agent", "starting"),
        ("agent", "done"),
    ]
    boot_id = (vm.disk / "proc/sys/kernel/random/boot_id").read_text().strip()
    assert {(report["epoch"], report["boot_id"]) for report in google.reports} == {(1763700000, boot_id)}

    _ask(google, "/die")
    await vm.says("agent started", times=2)


async def test_a_project_without_extras_boots_too(vm, google):
    google.attributes["mayfly-extras"] = "none"
    await _boot(vm, google)
    assert _ask(google)["MAYFLY_API_KEY"].split() == ["the-key"]


async def test_callers_that_show_tokens_need_no_key(vm, google):
    """Nor does the VM need one to read: it may have no access to it."""
    del google.attributes["mayfly-auth"]
    google.secrets = {}
    await _boot(vm, google)
    agent = _ask(google)
    assert (agent["MAYFLY_AUTH"], agent["MAYFLY_CALLERS"], agent["MAYFLY_API_KEY"]) == ("id-token", CALLERS, "")


async def test_while_keys_are_rotated_two_are_valid(vm, google):
    google.attributes |= {"mayfly-auth": "api-key", "mayfly-agent-key": "mayfly-agent-key mayfly-agent-key/6"}
    google.secrets["mayfly-agent-key/versions/6"] = b"the-old-key\n"
    await _boot(vm, google)
    agent = _ask(google)
    assert agent["MAYFLY_AUTH"] == "api-key"
    assert agent["MAYFLY_API_KEY"].split() == ["the-key", "the-old-key"]


async def test_a_gateway_s_own_certificate_is_no_secret_to_be_read(vm, google):
    google.attributes |= {"mayfly-role": "gateway", "mayfly-gateway-certificate": "own"}
    google.secrets = {"mayfly-gateway-keys/versions/latest": b"phone=0123456789abcdef"}
    await _boot(vm, google)
    agent = _ask(google)
    assert agent["MAYFLY_GATEWAY_CERTIFICATE"] == "own"
    assert agent["MAYFLY_GATEWAY_KEYS"] == "phone=0123456789abcdef"


async def test_no_secret_is_seen_on_the_console_in_a_report_or_in_an_argument(vm, google):
    await _boot(vm, google)
    seen = vm.console + json.dumps(google.reports).encode() + _every_command_line()
    assert b"the-key" not in seen
    assert TOKEN.encode() not in seen


async def test_a_second_boot_reuses_the_first_ones_code_and_environment(vm, google, repository):
    await _boot(vm, google)
    checkout = (vm.disk / "opt/mayfly/src/.git").stat().st_ino
    await vm.guest.press_power_button(20)
    shutil.rmtree(repository)  # nothing is fetched, so nobody misses it
    await _boot(vm, google, times=2)
    assert (vm.disk / "opt/mayfly/src/.git").stat().st_ino == checkout


async def test_a_new_ref_is_fetched_and_takes_the_place_of_the_old_code(vm, google, repository):
    await _boot(vm, google)
    await vm.guest.press_power_button(20)
    (repository / "news").write_text("new")
    google.attributes["mayfly-ref"] = _commit(repository, "two")
    (vm.disk / "opt/mayfly/src/left-over").touch()
    (vm.disk / "opt/mayfly/src.new").mkdir()  # a boot that was cut off
    await _boot(vm, google, times=2)
    assert (vm.disk / "opt/mayfly/src/news").read_text() == "new"
    assert not (vm.disk / "opt/mayfly/src/left-over").exists()


async def test_code_that_is_in_the_image_needs_no_git(vm, google, repository):
    shutil.copytree(repository, vm.disk / "opt/mayfly/src")
    del google.attributes["mayfly-source"], google.attributes["mayfly-ref"]
    await _boot(vm, google)


async def test_a_metadata_server_that_stumbles_is_asked_again(vm, google):
    google.stumbles = {"attributes/mayfly-source": 2, "attributes/mayfly-job": 1}
    google.attributes["mayfly-job"] = "trade:run"
    await _boot(vm, google)
    assert _ask(google)["MAYFLY_JOB"] == "trade:run"


@pytest.mark.parametrize(
    ("change", "stage", "detail"),
    [
        ({"mayfly-ref": "no-such-tag"}, "code", "couldn't find remote ref no-such-tag"),
        ({"mayfly-ref": "main"}, "code", "mayfly-ref=main is a branch"),
        ({"mayfly-source": "https://example.com/x", "mayfly-ref": ""}, "code", "needs mayfly-ref: a commit or a tag"),
        ({"mayfly-source": ""}, "code", "no mayfly-source in the metadata, and no code in"),
        ({"mayfly-agent-key": "nobody"}, "secrets", "404 for projects/demo/secrets/nobody/versions/latest: Secret ["),
        ({"mayfly-auth": "nobody"}, "secrets", "mayfly-auth is 'nobody', neither id-token, api-key nor both"),
        ({"mayfly-callers": " , "}, "secrets", "mayfly-callers is not set, so nobody could call"),
        ({"mayfly-secrets": "A-B=x"}, "secrets", "'A-B=x' is not NAME=secret[/version]"),
        ({"mayfly-extras": "agent nonsense"}, "dependencies", "nonsense"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
async def test_a_boot_that_fails_says_at_once_where_and_why(vm, google, change, stage, detail):
    google.attributes |= change
    await vm.boot(SCRIPT, metadata_host=google.host)
    await vm.says("startup-script exit status ")
    last = google.reports[-1]
    assert (last["stage"], last["status"], last["epoch"]) == (stage, "failed", 1763700000)
    assert detail in last["detail"]
    assert f"mayfly: stage={stage} status=failed detail=".encode() in vm.console
    assert [report["status"] for report in google.reports].count("failed") == 1


@pytest.mark.parametrize("login", ["https://glpat-s3cret", "https://me:glpat-s3cret", "ssh://git:glpat-s3cret"])
async def test_credentials_in_the_address_of_the_code_are_refused_and_shown_nowhere(vm, google, login):
    google.attributes |= {"mayfly-source": f"{login}@127.0.0.1:9/me/bot.git", "mayfly-ref": ""}
    await vm.boot(SCRIPT, metadata_host=google.host)
    await vm.says("startup-script exit status ")
    last = google.reports[-1]
    assert (last["stage"], last["status"]) == ("code", "failed")
    assert "mayfly-source has a name or password in its URL" in last["detail"]
    assert "have private code in the image" in last["detail"]
    assert b"s3cret" not in vm.console + json.dumps(google.reports).encode()


async def test_where_the_code_is_from_is_for_the_agent_s_user_alone_to_read(vm, google):
    await _boot(vm, google)
    source = vm.disk / "opt/mayfly/src"
    assert stat.S_IMODE((source / ".git").stat().st_mode) == 0o700
    assert (source / "vm_agent/__main__.py").stat().st_mode & stat.S_IROTH


async def test_the_name_that_ssh_asks_for_is_no_secret(vm, google):
    google.attributes["mayfly-source"] = "ssh://git@127.0.0.1:9/me/bot.git"
    await vm.boot(SCRIPT, metadata_host=google.host)
    await vm.says("startup-script exit status ")
    assert "git -C" in google.reports[-1]["detail"], "it was tried"


async def test_a_vm_whose_agent_never_comes_up_powers_itself_off(vm, google):
    google.attributes |= {"mayfly-boot-minutes": "0.01", "mayfly-ref": "no-such-tag"}
    await vm.boot(SCRIPT, metadata_host=google.host)
    await vm.is_off()
    assert b"mayfly: no agent 0.01 minutes after the boot: powering off" in vm.console


async def test_a_vm_whose_metadata_server_is_gone_powers_itself_off_all_the_same(vm, google):
    script = SCRIPT.replace("minutes=10", "minutes=0.01")
    assert script != SCRIPT
    await vm.boot(script, metadata_host="127.0.0.1:9")
    await vm.is_off()


async def test_incident_05_the_dead_man_is_armed_before_anything_that_can_fail(vm, google):
    google.attributes["mayfly-boot-minutes"] = "0.01"
    (vm.disk / "opt").mkdir(parents=True)
    (vm.disk / "opt/mayfly").write_text("a file where a folder should be")
    await vm.boot(SCRIPT, metadata_host=google.host)
    await vm.is_off()
    assert google.reports[-1]["status"] == "failed"
    assert "File exists" in vm.console.decode()


async def test_a_person_at_work_holds_the_dead_man_back(vm, google):
    google.attributes |= {"mayfly-boot-minutes": "0.01", "mayfly-ref": "nope", "mayfly-hold": "2999-01-01T00:00:00Z"}
    script = SCRIPT.replace("sleep 30", "echo held; sleep 0.1")
    await vm.boot(script, metadata_host=google.host)
    await vm.says("held", times=2)
    assert vm.offs == 0
    google.attributes["mayfly-hold"] = "2001-01-01T00:00:00Z"
    await vm.is_off()


async def test_when_the_agent_is_up_the_dead_man_watches_on(vm, google):
    await _boot(vm, google)
    assert [pid for pid in alive_in(vm.disk) if b"deadman" in _command_line(pid)]


async def test_who_logs_in_is_told_that_the_vm_goes_off_and_how_to_keep_it_on(vm, google):
    await _boot(vm, google)
    banner = (vm.disk / "run/motd.d/mayfly").read_text()
    assert "add-metadata gpu-vm --zone=us-central1-a --metadata=mayfly-hold=$(date -ud '+2 hours' +%FT%TZ)" in banner


async def test_how_long_silence_may_be_is_told_to_the_agent(vm, google):
    google.attributes["mayfly-silence-seconds"] = "90"
    await _boot(vm, google)
    assert _ask(google)["MAYFLY_DEADMAN_SILENCE_SECONDS"] == "90"


async def test_without_namespaces_the_shims_are_enough_for_it(tmp_path, repository, google):
    environment = {"SECRET_MANAGER_EMULATOR_HOST": google.host, "PATH": _with_uv()["PATH"], "UV_OFFLINE": "1"}
    async with AGuest(tmp_path / "disk", isolation=Isolation.SHIMS, **environment) as vm:
        await _boot(vm, google)


async def test_on_a_machine_with_systemd_the_dead_man_and_the_agent_are_units(vm, google):
    require_namespaces()  # only a /run of its own can look like one with systemd
    await _boot(vm, google, script=SYSTEMD + SCRIPT)
    assert _ask(google)["MAYFLY_API_KEY"].split() == ["the-key"]
    calls = re.findall(r"called: (.*?)\r?\n", vm.console.decode())
    assert calls[1].startswith("systemd-run --quiet --collect --unit=mayfly-deadman")
    assert "--property=Restart=always" in calls[1]
    assert calls[2:] == ["systemctl daemon-reload", "systemctl restart mayfly-agent.service"]
    assert "mayfly-agent" not in _faults_of_unit(vm.disk / "root/mayfly-agent.service")


async def test_on_a_machine_with_systemd_the_dead_man_does_its_duty_too(vm, google):
    require_namespaces()
    google.attributes |= {"mayfly-boot-minutes": "0.01", "mayfly-ref": "no-such-tag"}
    await vm.boot(SYSTEMD + SCRIPT, metadata_host=google.host)
    await vm.is_off()
    assert b"mayfly: no agent 0.01 minutes after the boot: powering off" in vm.console


def test_shellcheck_finds_nothing():
    shellcheck = required_tool("shellcheck", "apt-get install shellcheck")
    shims = "gcp_emulator/guest/shims/shim.sh"
    subprocess.run([shellcheck, "startup.sh", shims, "tests/e2e/hostile.sh"], check=True)


async def _boot(vm, google, *, times=1, script=SCRIPT):
    await vm.boot(script, metadata_host=google.host)
    await vm.says("startup-script exit status 0", times=times)


def _ask(google, path="/"):
    url = f"http://127.0.0.1:{google.attributes['mayfly-port']}{path}"
    try:
        return json.load(urllib.request.urlopen(url, timeout=10))
    except urllib.error.HTTPError as unready:
        return json.load(unready)


def _faults_of_unit(unit) -> str:
    if not (analyze := shutil.which("systemd-analyze")):
        return ""
    return subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, check=False).stderr


def _every_command_line() -> bytes:
    return b"".join(_command_line(process.name) for process in Path("/proc").glob("[0-9]*"))


def _command_line(pid) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _with_uv() -> dict[str, str]:
    """The environment, with uv on its PATH wherever the project keeps it."""
    found = shutil.which("uv") or os.environ.get("UV") or ".uv/bin/uv"
    return os.environ | {"PATH": f"{Path(found).resolve().parent}{os.pathsep}{os.environ['PATH']}"}


def _commit(folder, message):
    _git(folder, "add", "--all")
    _git(folder, "-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", message)
    return _git(folder, "rev-parse", "HEAD")


def _git(folder, *arguments):
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
