"""What a container cannot see, reach or change: tried from inside, on a real Docker Engine."""

import subprocess
from pathlib import Path

import pytest

from tests.contract.agent_at_work import result_of
from tests.contract.contained import an_agent_with, log_of
from tests.engines import METADATA_TOKEN, TestEngine, script
from vm_agent.containers.confinement import limits
from vm_agent.containers.terms import Terms

REQUEST = f"echo -e 'GET {METADATA_TOKEN} HTTP/1.0\\r\\n\\r' | nc -w 2 169.254.169.254"
ASK_FOR_THE_TOKEN = f"{REQUEST} 80 | grep own && exit 9; exit 0"
REFUSED = "the metadata server cannot be kept out of the container's reach"


async def test_the_metadata_server_is_out_of_reach_unless_allowed(engine: TestEngine, tmp_path: Path) -> None:
    """The DNS server at the same address is not."""
    async with an_agent_with(engine, tmp_path) as client:
        run = await result_of(
            client, job=script(f"{REQUEST} 53 | grep -q own && echo DNS answers; {ASK_FOR_THE_TOKEN}")
        )
        assert run["state"] == "SUCCEEDED", await log_of(client, run)
        assert "DNS answers\n" in await log_of(client, run)
        assert "own token" not in await log_of(client, run)
    async with an_agent_with(engine, tmp_path, metadata=True) as client:
        run = await result_of(client, job=script(ASK_FOR_THE_TOKEN))
        assert run["failure"]["exit_code"] == 9
        assert "the VM's own token\n" in await log_of(client, run)


async def test_without_a_network_nothing_is_in_reach(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path, network=False) as client:
        run = await result_of(client, job=script("cat /proc/net/dev | grep -c eth; " + ASK_FOR_THE_TOKEN))
        assert run["state"] == "SUCCEEDED"
        assert "\n0\n" in await log_of(client, run)


async def test_a_wall_that_was_taken_down_is_there_again_at_the_next_run(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path) as client:
        assert (await result_of(client, job=script("true")))["state"] == "SUCCEEDED"
        iptables = [f"{engine.folder}/bin/iptables", "-t", "raw"]
        subprocess.run([*iptables, "-F", "PREROUTING"], check=True)  # noqa: ASYNC221 - milliseconds
        assert (await result_of(client, job=script(ASK_FOR_THE_TOKEN)))["state"] == "SUCCEEDED"
        assert (await result_of(client, job=script("true")))["state"] == "SUCCEEDED"
        listed = subprocess.run([*iptables, "-S", "PREROUTING"], check=True, capture_output=True, text=True)  # noqa: ASYNC221
        assert [line.split()[-1] for line in listed.stdout.splitlines()] == ["ACCEPT", "ACCEPT", "ACCEPT", "DROP"]


@pytest.mark.parametrize(
    ("iptables", "why"),
    [("echo no such table >&2; exit 1", "no such table"), ('[ "$4" = -C ] && exit 1; exit 0', "the rules do not stay")],
)
async def test_where_there_can_be_no_wall_nothing_runs(
    engine: TestEngine, tmp_path: Path, iptables: str, why: str
) -> None:
    (tmp_path / "iptables").write_text(f"#!/bin/sh\n{iptables}\n")
    (tmp_path / "iptables").chmod(0o755)
    path = f"{tmp_path}:{engine.environment['PATH']}"
    async with an_agent_with(engine, tmp_path, {"PATH": path}) as client:
        run = await result_of(client, job=script("echo began"))
        assert run["state"] == "FAILED"
        assert run["failure"]["detail"].startswith(f"{REFUSED} ({why}")
        assert "began" not in await log_of(client, run)


async def test_where_iptables_is_missing_nothing_runs(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path, {"PATH": str(tmp_path)}) as client:
        run = await result_of(client, job=script("echo began"))
        assert run["failure"]["detail"].startswith(f"{REFUSED} (iptables: No such file")


async def test_somebody_elses_network_of_that_name_is_not_used(engine: TestEngine, tmp_path: Path) -> None:
    for network in engine.api.networks(names=["mayfly"]):
        engine.api.remove_network(network["Id"])
    engine.api.create_network("mayfly", driver="bridge")
    try:
        async with an_agent_with(engine, tmp_path) as client:
            run = await result_of(client, job=script("echo began"))
            assert run["failure"]["detail"].endswith("is not as Mayfly makes it: docker network rm mayfly")
    finally:
        engine.api.remove_network("mayfly")


async def test_the_agents_secrets_are_not_inside(engine: TestEngine, tmp_path: Path) -> None:
    secrets = {"MAYFLY_API_KEY": "open sesame", "BINANCE_SECRET": "planted", "COIN_KEY": "meant for it"}
    async with an_agent_with(engine, tmp_path, secrets, environment=("COIN_KEY",)) as client:
        run = await result_of(client, job=script("env; cat /proc/*/environ; ls /var/run /root /etc /mayfly"))
        log = await log_of(client, run)
        assert "COIN_KEY=meant for it\n" in log
        assert "open sesame" not in log
        assert "planted" not in log
        assert "docker.sock" not in log


async def test_a_secret_that_the_agent_does_not_have_is_an_error(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path, environment=("COIN_KEY",)) as client:
        run = await result_of(client, job=script("echo began"))
        assert run["failure"]["detail"].startswith("MAYFLY_CONTAINER_ENV names COIN_KEY, which the agent does not have")


TRIED_INSIDE = {
    "id": "uid=65532 gid=65532 groups=65532",
    "grep CapEff /proc/self/status": "CapEff:\t0000000000000000",
    "grep CapBnd /proc/self/status": "CapBnd:\t0000000000000000",
    "grep NoNewPrivs /proc/self/status": "NoNewPrivs:\t1",
    "grep Seccomp: /proc/self/status": "Seccomp:\t2",
    "touch /bin/new 2>&1": "touch: /bin/new: Read-only file system",
    "touch /mayfly/params.json 2>&1": "touch: /mayfly/params.json: Read-only file system",
    "echo kept >$HOME/file && cat /tmp/file": "kept",
    "ls /mayfly": "artifacts\nparams.json\ntold",
    "cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max": str(64 << 20),
    "cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max": "77",
    "cat /proc/self/oom_score_adj": "500",
}


async def test_what_it_is_and_may_do(engine: TestEngine, tmp_path: Path) -> None:
    tried = "\n".join(f"echo '> {what}'; {what}" for what in TRIED_INSIDE)
    async with an_agent_with(engine, tmp_path, pids=77) as client:
        run = await result_of(client, job=script(f"exec 2>/dev/null\n{tried}"))
        said = dict(part.split("\n", 1) for part in (await log_of(client, run)).split("> ")[1:])
        assert {what: answer.strip() for what, answer in said.items()} == TRIED_INSIDE


async def test_a_fork_bomb_meets_its_limit(engine: TestEngine, tmp_path: Path) -> None:
    bomb = "n=0; while [ $n -lt 100 ]; do sleep 600 & n=$((n+1)); done"
    async with an_agent_with(engine, tmp_path, pids=20) as client:
        run = await result_of(client, job=script(bomb))
        assert run["state"] == "FAILED"
        assert "fork" in await log_of(client, run)


def test_cpus_and_memory_are_those_of_the_settings(tmp_path: Path) -> None:
    asked = limits(tmp_path, "none", Terms(cpus=1.5, memory_bytes=1 << 30))
    assert (asked["nano_cpus"], asked["mem_limit"], asked["memswap_limit"]) == (1_500_000_000, 1 << 30, 1 << 30)
    assert limits(tmp_path, "none", Terms())["nano_cpus"] is None
    assert limits(tmp_path, "none", Terms(gpu="all"))["device_requests"] == [{"count": -1, "capabilities": [["gpu"]]}]
    assert limits(tmp_path, "none", Terms(gpu="none"))["device_requests"] is None
