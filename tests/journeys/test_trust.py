"""The agent proves itself: what can be read on the wire, and who is refused before he has heard a word."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest

from gcp_emulator.identity import Signer
from gcp_emulator.seed import AddressSeed, InstanceSeed
from gcp_emulator.tokens import identity_claims
from orchestrator.errors import AgentFault, AgentUnproven, WrongMachine
from orchestrator.policy import seconds
from orchestrator.run import Outcome, Receipt
from orchestrator.wiring import open_world
from tests.contract.wires import http
from tests.journeys.by_hand import published
from tests.journeys.lab import IMPATIENT, Lab, a_lab, a_world, starts_the_agent
from tests.journeys.wiretap import TAP, THEIRS, an_impostor, records, tapped, version_chosen
from vm_agent.certificate import of_this_boot, publish
from vm_agent.ending import CUT_OFF
from vm_agent.identity import Metadata
from vm_agent.protocol import PUBLICATION, Greeting, Mode, Publication

WARY = replace(IMPATIENT, publication=seconds(0.5), publication_longest=seconds(0.5), stranger=seconds(1))
SOON = replace(WARY, boot=seconds(6))  # long enough for an agent to be up, and to be refused
PARAMS = {"wallet": "b1tc0in-wallet-4711"}
READABLE = ("Bearer ey", PARAMS["wallet"], "monday-key", "HTTP/1.1", "POST /run", "GET /runs", "trading for real")


def publications_read(lab: Lab) -> list[dict[str, Any]]:
    asked = lab.requests("instances.getGuestAttributes")
    return [entry for entry in asked if entry["query"].get("queryPath") == PUBLICATION]


def refused(receipt: Receipt) -> str:
    """Exit 4, nothing ran, everything undone. Why, in its words."""
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.AGENT_FAULT, 4, "confirmed")
    assert receipt.result is None
    return receipt.detail


async def ip_of(lab: Lab) -> str:
    return str((await lab.address())["address"])


async def test_nothing_of_a_whole_run_can_be_read_on_the_wire_and_all_of_it_is_tls(lab: Lab):
    async with tapped(await ip_of(lab)) as heard:
        receipt = await lab.run("main:run", params=PARAMS, key="monday-key", agent_port=TAP)
    assert (receipt.exit_code, receipt.result) == (0, {"order": "placed"})
    assert [text for text in READABLE if text.encode() in heard.everything] == []
    spoken = [(asked, said) for asked, said in zip(heard.from_callers, heard.from_agent, strict=True) if said]
    for asked, said in spoken:
        assert next(kind for kind, _ in records(bytes(asked))) == 22, "a handshake comes first"
        shaken, *_ = records(bytes(said))
        assert version_chosen(shaken[1]) >= 0x0303
    assert sum(len(said) for _, said in spoken) > 2000, "the tap was on the line"
    assert len(publications_read(lab)) == 1


async def test_the_tap_would_have_read_plain_http(tmp_path: Path):
    """The proof above can fail."""
    async with a_lab(tmp_path / "disks", a_world(starts_the_agent(MAYFLY_TLS="off"))) as lab:
        async with tapped(await ip_of(lab)) as heard:
            receipt = await lab.run("main:run", params=PARAMS, key="monday-key", agent_port=TAP, agent_tls="off")
        assert receipt.exit_code == 0
        assert [text for text in READABLE if text.encode() not in heard.everything] == []
        assert publications_read(lab) == []
        await lab.all_is_well()


async def test_a_man_in_the_middle_with_his_own_certificate_sees_handshakes_and_no_request(lab: Lab, tmp_path: Path):
    ip, his = await ip_of(lab), of_this_boot(tmp_path, "his")
    async with an_impostor(ip, his.file, port=THEIRS) as asked, tapped(ip, port=THEIRS) as heard:
        detail = refused(await lab.run("main:run", policy=WARY, agent_port=TAP))
    assert "does not have the key of the certificate that gpu-vm has published" in detail
    assert "It has been so for 1s. Check which VM holds the address." in detail, "the boot was not waited for"
    assert asked == []
    assert len(heard.from_callers) > 1, "he was called, again and again"
    assert max(len(said) for said in heard.from_callers) < 1000, "no more than a handshake"
    assert 1 < len(publications_read(lab)) < len(heard.from_callers), "read anew, sparingly"


async def test_another_vm_that_answers_at_the_ip_is_refused_and_hears_nothing(tmp_path: Path):
    world = a_world()
    other = InstanceSeed("other-vm", status="RUNNING", address="other-ip", metadata=world.instances[0].metadata)
    world = replace(world, instances=(*world.instances, other), addresses=(*world.addresses, AddressSeed("other-ip")))
    async with a_lab(tmp_path / "disks", world) as lab:
        await published(lab, "other-vm")
        theirs = str((await lab.address("other-ip"))["address"])
        async with tapped(await ip_of(lab), to=theirs) as heard:
            detail = refused(await lab.run("main:run", policy=WARY, agent_port=TAP))
        assert "another VM, somebody in between, or an agent of another boot. Nothing was asked of it." in detail
        assert "Check which VM holds the address." in detail
        assert max(len(said) for said in heard.from_callers) < 1000, "no more than a handshake"
        assert any(len(said) > 500 for said in heard.from_agent), "their agent did answer"
        await lab.all_is_well(still_on=["other-vm"])


PUTS_AN_EARLIER_PUBLICATION_BACK = """
attribute=http://$GCE_METADATA_HOST/computeMetadata/v1/instance/guest-attributes/mayfly/agent
published() { curl -s -H 'Metadata-Flavor: Google' "$attribute"; }
if [[ $before == *BEGIN* ]]; then
  while [[ $(published) == "$before" ]]; do sleep 0.05; done
  curl -fsS -X PUT -H 'Metadata-Flavor: Google' --data-binary "$before" "$attribute" && echo "put back"
fi
"""


async def test_guest_attributes_of_another_boot_let_nobody_in(tmp_path: Path):
    """Somebody on the VM writes what an earlier boot published: not even the true agent of this boot is trusted."""
    begin, _, rest = starts_the_agent().partition("set -eu\n")
    keeps = PUTS_AN_EARLIER_PUBLICATION_BACK.partition("if")
    script = f"{begin}{keeps[0]}before=$(published)\nset -eu\n{rest}{keeps[1]}{keeps[2]}"
    async with a_lab(tmp_path / "disks", a_world(script)) as lab:
        assert (await lab.run("main:run")).exit_code == 0
        earlier = await published(lab)
        second = asyncio.create_task(lab.run("main:run", policy=replace(WARY, boot=seconds(15)), agent_port=TAP))
        await lab.until(lambda: any("put back" in entry.get("text", "") for entry in lab.emulator.history()))
        async with tapped(await ip_of(lab)) as heard:
            detail = refused(await second)
        assert f"has published (in its boot {earlier.boot_id})" in detail
        assert "Nobody has proved to be the agent" in detail, "what an earlier boot published may be overwritten yet"
        assert max(len(said) for said in heard.from_callers) < 1000, "no more than a handshake"
        await lab.all_is_well()


async def test_plain_http_in_the_place_of_tls_is_refused(tmp_path: Path):
    async with a_lab(tmp_path / "disks", a_world(starts_the_agent(MAYFLY_TLS="off"))) as lab:
        async with tapped(await ip_of(lab)) as heard:
            detail = refused(await lab.run("main:run", policy=SOON, agent_port=TAP))
        assert "but not in TLS" in detail
        assert b"Bearer" not in heard.everything
        assert publications_read(lab) == []
        await lab.all_is_well()


async def test_an_agent_that_may_publish_nothing_does_not_listen_and_the_vm_says_why(tmp_path: Path):
    metadata = {"startup-script": starts_the_agent()}
    async with a_lab(tmp_path / "disks", a_world(metadata=metadata)) as lab:
        async with an_impostor(await ip_of(lab), of_this_boot(tmp_path, "his").file) as asked:
            stranger = refused(await lab.run("main:run", policy=SOON, agent_port=TAP))
        assert "has published no certificate by which to know its agent. Has the VM enable-guest-attributes" in stranger
        assert asked == []
        nobody = refused(await lab.run("main:run", policy=SOON))
        assert "No agent answered on gpu-vm:8000" in nobody
        assert "the VM needs enable-guest-attributes=TRUE" in nobody, "by its console"
        await lab.all_is_well()


async def test_an_agent_that_starts_again_in_the_same_boot_is_still_the_same(lab: Lab):
    receipt = await lab.run("main:kill_the_agent", policy=replace(IMPATIENT, lost_agent=seconds(30)))
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.INTERRUPTED, 5, "confirmed")
    assert CUT_OFF in receipt.detail, "as the agent that came after it tells"
    assert len(publications_read(lab)) == 1, "nobody had to look for another certificate"


class Forger:
    """Somebody who has the key of the published certificate, and makes up everything else."""

    def __init__(self, lab: Lab, publication: Publication) -> None:
        self._lab, self.publication = lab, publication
        world = lab.emulator.cloud.world
        assert world.signer is not None
        self.google = world.signer
        [self.vm] = [vm for vm in world.instances.values() if vm.name == "gpu-vm"]
        self.claims = identity_claims(world, self.vm, publication.audience, full=True)

    def of(self, **engine: Any) -> dict[str, Any]:
        """The claims, with other words about the instance."""
        return {**self.claims, "google": {"compute_engine": {**self.claims["google"]["compute_engine"], **engine}}}

    def greets(self, token: str | None) -> bytes:
        said = Greeting(status="ok", instance_id=self.vm.id, boot_id=self.publication.boot_id, identity=token)
        return http(200, said.model_dump())


FORGED = {
    "of another VM": (lambda one: one.google.sign(one.of(instance_id="4711")), "it is instance 4711, and gpu-vm is"),
    "of another zone": (lambda one: one.google.sign(one.of(zone="us-east1-b")), "zone us-east1-b of project demo"),
    "of another project": (lambda one: one.google.sign(one.of(project_id="x", project_number=1)), "of project x"),
    "of no VM": (lambda one: one.google.sign({**one.claims, "google": None}), "Google says of no instance"),
    "for another certificate": (lambda one: one.google.sign({**one.claims, "aud": "mayfly/1/2"}), "its audience is"),
    "without a signature": (lambda one: jwt.encode(one.claims, None, algorithm="none"), "signed with 'none'"),
    "with another key": (lambda one: Signer.new().sign(one.claims), "with a key that is none of Google's"),
}


async def test_a_token_that_is_not_googles_word_for_this_vm_is_refused_and_hears_no_more_than_a_greeting(
    tmp_path: Path,
):
    async with a_lab(tmp_path / "disks", a_world(address="gpu-ip", status="RUNNING")) as lab:
        forger, ip = Forger(lab, await published(lab)), await ip_of(lab)
        keys = lab.disk / "run/mayfly/tls.pem"
        for token, why in FORGED.values():
            async with (
                an_impostor(ip, keys, forger.greets(token(forger))) as asked,
                open_world(lab.settings(agent_port=TAP), IMPATIENT, lab.told.append) as world,
            ):
                agent = world.agent(await world.machines.look("gpu-vm"), ip)
                with pytest.raises(WrongMachine, match=why):
                    await agent.greet(1)
                with pytest.raises(WrongMachine, match=why):
                    await agent.find("monday", Mode.RUN)
            assert [(one.method, one.path) for one in asked] == [("GET", "/")] * 2
        await lab.all_is_well(still_on=["gpu-vm"])


async def test_a_token_that_is_over_by_our_clock_is_nobody_yet_and_may_be_our_clock_s_fault(tmp_path: Path):
    async with a_lab(tmp_path / "disks", a_world(address="gpu-ip", status="RUNNING")) as lab:
        forger, ip = Forger(lab, await published(lab)), await ip_of(lab)
        keys = lab.disk / "run/mayfly/tls.pem"
        now = time.time()
        for times, why in (
            ({"exp": now - 3000}, r"it expired 3\d\d\d s ago"),
            ({"iat": now + 3000}, "not valid before"),
        ):
            token = forger.google.sign({**forger.claims, **times})
            async with (
                an_impostor(ip, keys, forger.greets(token)) as asked,
                open_world(lab.settings(agent_port=TAP), IMPATIENT, lab.told.append) as world,
            ):
                agent = world.agent(await world.machines.look("gpu-vm"), ip)
                with pytest.raises(AgentUnproven, match=rf"{why}.*Is this machine's clock right\?"):
                    await agent.greet(1)
                with pytest.raises(AgentUnproven, match=why):
                    await agent.find("monday", Mode.RUN)
            assert [(one.method, one.path) for one in asked] == [("GET", "/")] * 2
        await lab.all_is_well(still_on=["gpu-vm"])


async def test_no_token_is_nobody_yet_and_the_right_one_opens_the_door(tmp_path: Path):
    async with a_lab(tmp_path / "disks", a_world(address="gpu-ip", status="RUNNING")) as lab:
        forger, ip = Forger(lab, await published(lab)), await ip_of(lab)
        keys = lab.disk / "run/mayfly/tls.pem"
        async with open_world(lab.settings(agent_port=TAP), IMPATIENT, lab.told.append) as world:
            agent = world.agent(await world.machines.look("gpu-vm"), ip)
            async with an_impostor(ip, keys, forger.greets(None)):
                with pytest.raises(AgentUnproven, match="shows no identity token"):
                    await agent.greet(1)
            async with an_impostor(ip, keys, forger.greets(forger.google.sign(forger.claims))):
                greeting = await agent.greet(1)
        assert greeting is not None
        assert greeting.status == "ok"
        await lab.all_is_well(still_on=["gpu-vm"])


async def test_what_is_no_certificate_is_not_taken_for_one(tmp_path: Path):
    """Everybody on the VM can write there."""
    async with a_lab(tmp_path / "disks", a_world(address="gpu-ip", status="RUNNING")) as lab:
        forger, ip = Forger(lab, await published(lab)), await ip_of(lab)
        answer = forger.greets(forger.google.sign(forger.claims))
        true = forger.publication
        metadata = Metadata(f"{forger.vm.internal_ip}:{lab.emulator.port}")
        for certificate in ("", "nonsense", f"and {true.certificate}", true.certificate.replace("M", "!", 1)):
            written = true.model_copy(update={"certificate": certificate}).model_dump_json()
            await metadata.write(f"instance/guest-attributes/{PUBLICATION}", written.encode())
            async with (
                an_impostor(ip, lab.disk / "run/mayfly/tls.pem", answer) as asked,
                open_world(lab.settings(agent_port=TAP), IMPATIENT, lab.told.append) as world,
            ):
                agent = world.agent(await world.machines.look("gpu-vm"), ip)
                with pytest.raises(AgentUnproven, match="in the place of a certificate is none"):
                    await agent.greet(1)
            assert asked == []
        await lab.all_is_well(still_on=["gpu-vm"])


async def test_after_a_reboot_the_new_certificate_is_looked_up_and_proved_before_anything_is_asked(tmp_path: Path):
    async with a_lab(tmp_path / "disks", a_world(address="gpu-ip", status="RUNNING")) as lab:
        first, ip = Forger(lab, await published(lab)), await ip_of(lab)
        async with open_world(lab.settings(agent_port=TAP), SOON, lab.told.append) as world:
            agent = world.agent(await world.machines.look("gpu-vm"), ip)
            answer = first.greets(first.google.sign(first.claims))
            async with an_impostor(ip, lab.disk / "run/mayfly/tls.pem", answer):
                assert await agent.greet(1) is not None
            rebooted = of_this_boot(tmp_path, "boot-2")
            await publish(rebooted, Metadata(f"{first.vm.internal_ip}:{lab.emulator.port}"))
            second = Forger(lab, rebooted.publication)
            forged, true = second.google.sign(first.claims), second.google.sign(second.claims)
            async with an_impostor(ip, rebooted.file, second.greets(forged)) as asked:
                with pytest.raises(WrongMachine, match="its audience is"):
                    await agent.find("monday", Mode.RUN)
            assert [one.path for one in asked] == ["/"]
            async with an_impostor(ip, rebooted.file, second.greets(true)) as asked:
                with pytest.raises(AgentFault, match="its answer makes no sense"):  # a greeting is no list of runs
                    await agent.find("monday", Mode.RUN)
            assert [one.path for one in asked] == ["/", "/runs"]
        await lab.all_is_well(still_on=["gpu-vm"])


async def test_the_wrong_machine_at_the_address_is_exit_4_at_once(lab: Lab):
    running = asyncio.create_task(lab.run("main:run", agent_port=TAP))
    forger, ip = Forger(lab, await published(lab)), await ip_of(lab)
    answer = forger.greets(forger.google.sign(forger.of(instance_id="4711")))
    async with an_impostor(ip, lab.disk / "run/mayfly/tls.pem", answer) as asked:
        detail = refused(await running)
    assert "it is instance 4711" in detail
    assert "Check which VM holds the address" in detail
    assert [(one.method, one.path) for one in asked] == [("GET", "/")]
