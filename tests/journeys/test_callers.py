"""Who may command the VM, over the whole of a run: tokens by default, with nothing set up by hand; keys where asked."""

from dataclasses import replace
from pathlib import Path

from gcp_emulator.seed import SecretSeed, caller_email
from orchestrator.run import Outcome
from orchestrator.settings import Auth
from tests.journeys.lab import a_lab, a_world, starts_the_agent


async def test_the_main_job_needs_no_secret(tmp_path: Path):
    world = replace(a_world(starts_the_agent("", MAYFLY_AUTH="id-token")), secrets=())
    async with a_lab(tmp_path, world) as lab:
        receipt = await lab.run("main:run")
        assert (receipt.outcome, receipt.exit_code) == (Outcome.SUCCEEDED, 0)
        assert lab.requests("secrets.versions.access") == []
        await lab.all_is_well()


async def test_an_account_that_may_not_call_is_exit_4_and_is_told_which_it_is_and_where_it_belongs(tmp_path: Path):
    script = starts_the_agent(MAYFLY_CALLERS="somebody-else@demo.iam.gserviceaccount.com")
    async with a_lab(tmp_path, a_world(script)) as lab:
        receipt = await lab.run("main:run")
        assert (receipt.outcome, receipt.exit_code) == (Outcome.AGENT_FAULT, 4)
        email = caller_email("demo")
        assert f"a token of {email} for //compute.googleapis.com/projects/demo/zones" in receipt.detail
        assert (
            "gcloud compute instances add-metadata gpu-vm --zone=us-central1-a --project=demo "
            f"--metadata=mayfly-callers={email}"
        ) in receipt.detail
        assert receipt.cleanup == "confirmed"
        await lab.all_is_well()


async def test_an_agent_that_takes_only_keys_is_exit_4_and_says_so(tmp_path: Path):
    async with a_lab(tmp_path, a_world(starts_the_agent(MAYFLY_AUTH="api-key"))) as lab:
        receipt = await lab.run("main:run")
        assert (receipt.outcome, receipt.exit_code) == (Outcome.AGENT_FAULT, 4)
        assert "X-API-Key" in receipt.detail
        assert "mayfly-auth must not be api-key" in receipt.detail
        assert receipt.cleanup == "confirmed"
        await lab.all_is_well()


async def test_keys_are_rotated_without_a_run_that_fails(tmp_path: Path):
    """The secret has a new version, and the VM takes both: who has the old key gets in, until it is rotated out."""
    secrets = (SecretSeed("mayfly-agent-key", versions=("the-old-key", "the-new-key")),)
    script = starts_the_agent(MAYFLY_API_KEY="'the-new-key\nthe-old-key'")
    async with a_lab(tmp_path, replace(a_world(script), secrets=secrets)) as lab:
        for secret in ("mayfly-agent-key/1", "mayfly-agent-key"):
            receipt = await lab.run("main:run", auth=Auth.API_KEY, agent_key_secret=secret)
            assert receipt.exit_code == 0
        await lab.all_is_well()
    (tmp_path / "later").mkdir()
    async with a_lab(tmp_path / "later", replace(a_world(starts_the_agent("the-new-key")), secrets=secrets)) as lab:
        receipt = await lab.run("main:run", auth=Auth.API_KEY, agent_key_secret="mayfly-agent-key/1")
        assert (receipt.outcome, receipt.exit_code) == (Outcome.AGENT_FAULT, 4)
        assert (await lab.run("main:run", auth=Auth.API_KEY)).exit_code == 0
        await lab.all_is_well()
