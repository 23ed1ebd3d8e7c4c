"""What a sweep leaves alone: live work, whatever the lease says, and all that is not ours."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from gcp_emulator.seed import AddressSeed, InstanceSeed
from orchestrator.events import Event, PhaseStarted
from orchestrator.lease import Found, Phase
from orchestrator.policy import seconds
from orchestrator.swept import Standing, SweepReceipt
from tests.journeys.by_hand import BY_HAND, a_person, published, trusting_it_alone
from tests.journeys.command import begin
from tests.journeys.lab import IMPATIENT, Lab, a_lab, a_world
from tests.journeys.sweeping import abandoned_at, left_lease, run_out, sweep
from vm_agent.protocol import CERTIFICATE_NAME, START_MEDIA_TYPE


def changes(lab: Lab, since: int = 0) -> list[str]:
    """The verbs that tried to change something."""
    return [entry["verb"] for entry in lab.requests()[since:] if entry["method"] not in {"GET", "HEAD"}]


def the_only(receipt: SweepReceipt) -> tuple[Standing, str]:
    [finding] = receipt.findings
    return finding.standing, finding.why


async def on_the_agent(lab: Lab, method: str, path: str) -> httpx.Response:
    """As a person with `curl` and the key."""
    async with a_person(lab, **BY_HAND) as client:
        return (await client.request(method, path)).raise_for_status()


async def test_incident_15_a_live_run_goes_on_though_its_lease_ran_out_long_ago(lab: Lab):
    """Its orchestrator is dead, the lease has run out, the sweeper's list says so: the agent's word counts."""
    until = lab.disk / "go-on"
    running = asyncio.create_task(lab.run("main:outlast", params={"until": str(until)}, key="monday"))
    await lab.until(lambda: "at work" in lab.output)
    await run_out(lab, deadline_too=True)
    before = len(lab.requests())
    standing, why = the_only(await sweep(lab))
    assert standing is Standing.LIVE
    assert "Run monday is at work" in why
    assert changes(lab, before) == []
    until.touch()
    receipt = await running
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed"), "nobody was fenced off by the sweeper's question"


async def test_a_run_that_outlived_its_orchestrator_is_waited_for_and_then_its_vm_is_stopped(lab: Lab):
    until = lab.disk / "go-on"
    await abandoned_at(lab, "job", job="main:outlast", params={"until": str(until)})
    assert the_only(await sweep(lab))[0] is Standing.LIVE
    until.touch()
    async with asyncio.timeout(30):
        while (await on_the_agent(lab, "GET", "/")).json()["run"] is not None:
            await asyncio.sleep(0.05)
    receipt = await sweep(lab)
    assert (receipt.exit_code, receipt.findings[0].standing) == (0, Standing.ABANDONED)


async def test_a_run_that_began_between_the_question_and_the_claim_goes_on(lab: Lab):
    """With the lease run out, anybody with the key may start one; only our claim shuts that door."""
    before = await abandoned_at(lab, "invoke")
    ip, publication = (await lab.address())["address"], await published(lab)
    begun: list[int] = []
    by_hand = {**BY_HAND, "Idempotency-Key": "by-hand", "Content-Type": START_MEDIA_TYPE}
    order = {"job": {"function": "main:outlast"}, "params": {"until": str(lab.disk / "go-on")}}

    def tell(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.name.endswith(" claim"):
            with httpx.Client(verify=trusting_it_alone(publication), headers=by_hand) as client:
                name = {"sni_hostname": CERTIFICATE_NAME}
                reply = client.post(f"https://{ip}:8000/run", json=order, extensions=name)
            begun.append(reply.status_code)

    receipt = await asyncio.to_thread(lambda: asyncio.run(sweep(lab, tell=tell)))  # the cloud goes on meanwhile
    assert begun == [202]
    standing, why = the_only(receipt)
    assert standing is Standing.LIVE
    assert "Run by-hand is at work" in why
    assert lab.requests("instances.stop") == []
    after = await lab.lease()
    assert after is not None
    assert (after.nonce, after.phase, after.epoch > before.epoch) == (before.nonce, before.phase, True)
    (lab.disk / "go-on").touch()
    async with asyncio.timeout(30):
        while (await on_the_agent(lab, "GET", "/")).json()["run"] is not None:
            await asyncio.sleep(0.05)
    assert (await on_the_agent(lab, "GET", "/runs")).json()["runs"][0]["state"] == "SUCCEEDED"
    assert (await sweep(lab)).exit_code == 0


async def test_a_silent_agent_counts_as_live_until_the_runs_deadline(lab: Lab):
    lease = await abandoned_at(lab, "invoke")
    assert lease.phase is Phase.INVOKING
    standing, why = the_only(await sweep(lab, agent_port=8001))
    assert standing is Standing.LIVE
    assert "silent" in why
    await run_out(lab, deadline_too=True)
    receipt = await sweep(lab, agent_port=8001)
    assert (receipt.exit_code, receipt.findings[0].standing) == (0, Standing.ABANDONED)


async def test_a_silent_agent_that_was_never_asked_has_no_run(lab: Lab):
    lease = await abandoned_at(lab, "boot")
    assert (lease.phase, lease.run_deadline) == (Phase.CLAIMED, None)
    receipt = await sweep(lab, agent_port=8001)
    assert (receipt.exit_code, receipt.findings[0].standing) == (0, Standing.ABANDONED)


async def test_an_agent_whose_key_we_do_not_have_counts_as_silent(lab: Lab):
    await abandoned_at(lab, "invoke")
    assert the_only(await sweep(lab, auth="api-key", agent_key="another-key"))[0] is Standing.LIVE
    assert the_only(await sweep(lab, auth="api-key", agent_key_secret="no-such-secret"))[0] is Standing.LIVE
    assert (await sweep(lab)).exit_code == 0


async def test_a_lease_that_holds_is_left_to_its_holder(lab: Lab):
    running = asyncio.create_task(lab.run("main:outlast", params={"until": str(lab.disk / "go-on")}))
    await lab.until(lambda: "at work" in lab.output)
    before = len(lab.requests())
    assert the_only(await sweep(lab))[0] is Standing.HELD
    assert changes(lab, before) == []
    (lab.disk / "go-on").touch()
    assert (await running).exit_code == 0


async def test_a_vm_that_is_off_and_free_costs_one_request(lab: Lab):
    assert the_only(await sweep(lab))[0] is Standing.AT_REST
    assert [entry["verb"] for entry in lab.requests()] == ["instances.aggregatedList", "addresses.aggregatedList"]


@pytest.mark.parametrize("labels", [{}, {"mayfly": "mine"}, {"managed": "mayfly"}])
async def test_a_vm_without_our_label_is_not_ours_whatever_its_lease_says(tmp_path: Path, labels: dict[str, str]):
    async with a_lab(tmp_path, a_world(labels=labels, status="RUNNING", address="gpu-ip")) as lab:
        await left_lease(lab, "gpu-vm", address="gpu-ip")
        before = len(lab.requests())
        receipt = await sweep(lab)
        assert (receipt.findings, receipt.exit_code, changes(lab, before)) == ((), 0, [])
        await lab.all_is_well(still_on=["gpu-vm"])


async def test_a_vm_that_runs_without_a_lease_is_told_and_left_on(tmp_path: Path):
    """Started by hand, or its lease was wiped: nobody can tell, so it is not ours to stop."""
    async with a_lab(tmp_path) as lab:
        await abandoned_at(lab, "boot")
        await lab.write_lease(None)
        before = len(lab.requests())
        receipt = await sweep(lab)
        standing, why = the_only(receipt)
        assert (standing, receipt.exit_code, changes(lab, before)) == (Standing.ON_BY_HAND, 0, [])
        assert "costs money" in why
        await lab.all_is_well(still_on=["gpu-vm"])


async def test_a_vm_that_somebody_started_after_the_lease_had_run_out_is_theirs(tmp_path: Path):
    async with a_lab(tmp_path) as lab:
        lease = await abandoned_at(lab, "attach")
        long_ago = datetime.now(UTC) - timedelta(hours=2)
        await lab.write_lease(replace(lease, expires_at=long_ago).to_json())
        async with httpx.AsyncClient() as client:
            path = "compute/v1/projects/demo/zones/us-central1-a/instances/gpu-vm/start"
            await client.post(f"{lab.emulator.url}/{path}")
        await lab.until(lambda: lab.states()[-1:] == ["RUNNING"])
        before = len(lab.requests())
        assert the_only(await sweep(lab))[0] is Standing.ON_BY_HAND
        assert changes(lab, before) == []
        await lab.all_is_well(still_on=["gpu-vm"])


async def test_a_vm_that_was_on_before_the_run_stays_on(tmp_path: Path):
    async with a_lab(tmp_path, a_world(status="RUNNING")) as lab:
        await left_lease(lab, "gpu-vm", address="gpu-ip", found=Found(running=True))
        receipt = await sweep(lab)
        assert (receipt.exit_code, receipt.findings[0].moves) == (0, ("claim", "release"))
        await lab.all_is_well(still_on=["gpu-vm"])


async def test_of_another_vm_no_address_is_taken_off(tmp_path: Path):
    """The lease names gpu-ip, which is on another VM by now; what is on ours is somebody's."""
    seed = a_world(address="their-ip")
    neighbour = InstanceSeed("neighbour", address="gpu-ip")
    addresses = (*seed.addresses, AddressSeed("their-ip"))
    async with a_lab(tmp_path, replace(seed, instances=(*seed.instances, neighbour), addresses=addresses)) as lab:
        await left_lease(lab, "gpu-vm", address="gpu-ip")
        receipt = await sweep(lab)
        assert (receipt.exit_code, receipt.findings[0].moves) == (0, ("claim", "release"))
        assert lab.requests("instances.deleteAccessConfig") == []
        await lab.all_is_well()


async def test_an_address_that_is_no_more_holds_up_nobody(tmp_path: Path):
    async with a_lab(tmp_path) as lab:
        await left_lease(lab, "gpu-vm", address="long-gone-ip")
        assert (await sweep(lab)).exit_code == 0
        lease = await lab.lease()
        assert lease is not None
        assert lease.phase is Phase.FREE


async def test_an_address_that_cannot_be_looked_up_stays_owed_and_the_vm_is_off_all_the_same(tmp_path: Path):
    """The lease is not given back before the address is off: else nobody would ever know of it again."""
    async with a_lab(tmp_path) as lab:
        await abandoned_at(lab, "boot")
        await lab.inject(on="addresses.get", times=None, reply={"status": 403, "reason": "forbidden"})
        receipt = await sweep(lab, policy=replace(IMPATIENT, down=seconds(2)))
        assert receipt.exit_code == 7
        assert (await lab.vm())["status"] == "TERMINATED"
        async with httpx.AsyncClient() as client:
            await client.delete(f"{lab.emulator.url}/_emulator/faults")
        await run_out(lab)
        assert (await sweep(lab)).findings[0].moves == ("claim", "detach", "release")
        await lab.all_is_well()


async def test_somebody_at_work_on_the_vm_is_left_in_peace(tmp_path: Path):
    hold = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    metadata = {**a_world().instances[0].metadata, "mayfly-hold": hold}
    async with a_lab(tmp_path, a_world(metadata=metadata)) as lab:
        await abandoned_at(lab, "boot")
        standing, why = the_only(await sweep(lab))
        assert standing is Standing.ON_BY_HAND
        assert "mayfly-hold" in why
        await lab.all_is_well(still_on=["gpu-vm"])


async def test_a_reserved_address_of_ours_that_nothing_uses_is_told_and_kept(tmp_path: Path):
    seed = a_world()
    ours, theirs = AddressSeed("idle-ip", labels={"mayfly": "managed"}), AddressSeed("their-ip")
    async with a_lab(tmp_path, replace(seed, addresses=(*seed.addresses, ours, theirs))) as lab:
        receipt = await sweep(lab)
        told = [(finding.name, finding.standing) for finding in receipt.findings if finding.kind == "address"]
        assert (told, receipt.exit_code) == ([("idle-ip", Standing.UNUSED)], 0)
        assert (await lab.address("idle-ip"))["status"] == "RESERVED"


async def test_what_is_in_another_zone_is_swept_too_unless_one_is_named(tmp_path: Path):
    machine = InstanceSeed("far-vm", labels={"mayfly": "managed"}, zone="europe-west4-b", status="RUNNING")
    seed = a_world()
    async with a_lab(tmp_path, replace(seed, instances=(*seed.instances, machine))) as lab:
        assert {finding.name for finding in (await sweep(lab)).findings} == {"gpu-vm", "far-vm"}
        assert {finding.name for finding in (await sweep(lab, only="us-central1-a")).findings} == {"gpu-vm"}


async def test_a_zone_that_is_none_is_refused_for_nothing_found_would_look_like_all_being_well(
    lab: Lab, tmp_path: Path
):
    process = await begin(lab, tmp_path / "cwd", "sweep", "--zone", "us-central1")
    stdout, stderr = await asyncio.wait_for(process.communicate(), timeout=60)
    assert (process.returncode, stdout) == (2, b"")
    assert b"--zone us-central1 is not a zone" in stderr
    assert lab.requests() == []
