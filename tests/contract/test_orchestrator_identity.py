"""Who we are, to Google: ID tokens from the metadata server and from google-auth's own classes, over the wire."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gcp_emulator.emulator import Emulator
from gcp_emulator.seed import caller_email, demo_seed
from orchestrator.agent_client import AgentClient
from orchestrator.clock import SystemClock
from orchestrator.credentials import open_credentials
from orchestrator.errors import AgentRefused, BadUsage, Forbidden
from orchestrator.google_identity import Identity, find_identity
from orchestrator.policy import Policy
from orchestrator.settings import Settings
from tests.clocks import JumpingClock
from tests.contract.agent_at_work import agent_process
from tests.contract.running_vm import a_running_vm
from tests.contract.wires import Answer, Asked, http, serving
from tests.signing import AUDIENCE, CALLER, SigningKey
from vm_agent.signed import GoogleKeys

key = SigningKey()


def the_identity(metadata_host: str | None = None) -> Identity:
    return find_identity("demo", metadata_host, Policy(), JumpingClock())


@pytest.fixture
async def google(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with Emulator(seed=demo_seed("", api_key="k"), folder=tmp_path / "disks") as emulator:
        yield emulator


async def test_on_cloud_run_the_metadata_server_gives_one_that_names_the_service_account(google: Emulator):
    token = await the_identity(google.host).token(AUDIENCE)

    async def keys() -> bytes:
        return json.dumps(google.cloud.world.signer.jwks).encode()  # type: ignore[union-attr]

    said = await GoogleKeys(keys, lambda: SystemClock().now().timestamp()).claims(token, AUDIENCE)
    assert (said["email"], said["email_verified"]) == (caller_email("demo"), True)


@pytest.mark.parametrize("hiccup", [http(503, b""), http(429, b""), None])
async def test_a_metadata_server_that_stumbles_is_asked_again(hiccup: bytes | None):
    answers: list[Answer] = [hiccup, http(200, b"a.b.c\n")]

    async def answer(_: Asked) -> Answer:
        return answers.pop(0)

    async with serving(answer) as url:
        assert await the_identity(urlsplit(url).netloc).token("x") == "a.b.c"


async def test_without_a_service_account_there_is_none_and_it_says_what_to_do():
    async def answer(_: Asked) -> Answer:
        return http(404, b"no such service account")

    async with serving(answer) as url:
        with pytest.raises(Forbidden, match=r"answered 404.*Give this job a service account, or set AUTH=api-key"):
            await the_identity(urlsplit(url).netloc).token("x")


async def test_a_service_account_by_its_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[Asked] = []

    async def answer(one: Asked) -> Answer:
        asked.append(one)
        return http(200, {"id_token": key.token()}, Content_Type="application/json")

    async with serving(answer) as url:
        credentials(tmp_path, monkeypatch, a_key_file(f"{url}/token"))
        assert await the_identity().token(AUDIENCE) == key.token()
    [assertion] = parse_qs(asked[0].body.decode())["assertion"]
    said = jwt.decode(assertion, key.pem(), ["RS256"], options={"verify_aud": False, "verify_exp": False})
    assert (said["target_audience"], said["iss"]) == (AUDIENCE, CALLER)


async def test_a_service_account_that_we_may_impersonate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[Asked] = []

    async def answer(one: Asked) -> Answer:
        asked.append(one)
        if one.path.endswith("/token"):
            return http(200, {"access_token": "ya29.me", "expires_in": 3600}, Content_Type="application/json")
        return http(200, {"token": key.token()}, Content_Type="application/json")

    async with serving(answer) as url:
        point_at(monkeypatch, url)
        credentials(tmp_path, monkeypatch, an_impersonation(f"{url}/token"))
        assert await the_identity().token(AUDIENCE) == key.token()
    order = json.loads(asked[-1].body)
    assert (order["audience"], order["includeEmail"]) == (AUDIENCE, True)
    assert asked[-1].path.endswith(f"/{CALLER}:generateIdToken")


async def test_one_that_we_may_not_impersonate_is_an_error_that_names_the_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def answer(one: Asked) -> Answer:
        if one.path.endswith("/token"):
            return http(200, {"access_token": "ya29.me", "expires_in": 3600}, Content_Type="application/json")
        return http(403, {"error": {"code": 403, "status": "PERMISSION_DENIED"}}, Content_Type="application/json")

    async with serving(answer) as url:
        point_at(monkeypatch, url)
        credentials(tmp_path, monkeypatch, an_impersonation(f"{url}/token"))
        with pytest.raises(Forbidden, match=r"roles/iam\.serviceAccountTokenCreator"):
            await the_identity().token(AUDIENCE)


async def test_a_persons_own_credentials_cannot_and_it_says_the_exact_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    credentials(tmp_path, monkeypatch, a_person("https://oauth2.googleapis.com/token"))
    with pytest.raises(BadUsage) as no:
        the_identity()
    assert "AUTH=api-key" in str(no.value)
    assert (
        "`gcloud auth application-default login "
        "--impersonate-service-account=NAME@demo.iam.gserviceaccount.com`" in str(no.value)
    )
    assert "refresh-token" not in str(no.value)


async def test_a_fresh_token_is_fetched_once_for_a_refusal_and_then_we_are_refused(tmp_path: Path):
    asked: list[str] = []

    async def answer(one: Asked) -> Answer:
        if one.path.startswith("/computeMetadata"):
            return http(200, key.token(sub=str(len(asked))).encode())
        asked.append(one.headers["authorization"])
        return http(200, {"runs": []}) if len(asked) == allowed_after else http(401, b"")

    for allowed_after in (2, 9):
        asked.clear()
        async with serving(answer) as url, a_client(url) as client:
            if allowed_after == 2:
                assert await client.find("k", "run") is None  # type: ignore[arg-type]
            else:
                with pytest.raises(AgentRefused, match=rf"a token of {CALLER} for {AUDIENCE}"):
                    await client.find("k", "run")  # type: ignore[arg-type]
        assert len(asked) == 2
        assert len(set(asked)) == 2


async def test_a_token_for_one_vm_is_refused_by_another_and_no_secret_is_told(tmp_path: Path):
    """Replay: whoever has caught the token that we showed to one VM cannot show it to another."""
    async with a_running_vm(tmp_path, "gpu-vm") as vm:
        environment = {"MAYFLY_AUTH": "both", "MAYFLY_CALLERS": vm.caller, **vm.environment(tmp_path)}
        async with agent_process(tmp_path, **environment) as agent:
            show = await open_credentials(settings_of(vm.emulator.host), Policy(), SystemClock())
            for name, lets_in in (("gpu-vm-2", False), ("gpu-vm", True)):
                client = AgentClient(str(agent.client.base_url), show("us-central1-a", name), Policy(), SystemClock())
                if lets_in:
                    greeting = await client.greet(7)
                    assert greeting is not None
                    assert greeting.instance_id == vm.instance_id
                else:
                    with pytest.raises(AgentRefused, match=f"{vm.caller} for .*/instances/gpu-vm-2") as no:
                        await client.greet(7)
                    assert "Bearer ey" not in str(no.value)
                await client.aclose()
            said = await agent.end()
        assert f"its audience is '{vm.audience}-2', not '{vm.audience}'" in said
        assert "ey" + "J" not in said


def settings_of(host: str) -> Settings:
    named = {"project_id": "demo", "zone": "us-central1-a", "instance": "gpu-vm", "static_name": "gpu-ip"}
    return Settings(_env_file=None, gce_metadata_host=host, **named)  # type: ignore[call-arg, arg-type]


class a_client:  # noqa: N801 - reads as a sentence
    """A client that shows tokens from the metadata server at `url`, to the agent at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> AgentClient:
        show = await open_credentials(settings_of(urlsplit(self._url).netloc), Policy(), JumpingClock())
        self._client = AgentClient(self._url, show("us-central1-a", "gpu-vm"), Policy(), JumpingClock())
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()


def credentials(folder: Path, monkeypatch: pytest.MonkeyPatch, document: dict[str, Any]) -> None:
    file = folder / "credentials.json"
    file.write_text(json.dumps(document))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))


def a_key_file(token_uri: str) -> dict[str, Any]:
    private = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "type": "service_account",
        "project_id": "demo",
        "private_key_id": "1",
        "private_key": private.decode(),
        "client_email": CALLER,
        "token_uri": token_uri,
    }


def a_person(token_uri: str) -> dict[str, Any]:
    named = {"client_id": "id", "client_secret": "secret", "refresh_token": "refresh-token", "token_uri": token_uri}
    return {"type": "authorized_user", **named}


def an_impersonation(token_uri: str) -> dict[str, Any]:
    """As `gcloud auth application-default login --impersonate-service-account` leaves it."""
    url = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{CALLER}:generateAccessToken"
    return {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": url,
        "source_credentials": a_person(token_uri),
        "delegates": [],
    }


def point_at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Where google-auth finds Google's tokens and its IAM Credentials API: it can be told in no other way."""
    monkeypatch.setattr("google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{url}/token")
    monkeypatch.setattr(
        "google.auth.iam._IAM_IDTOKEN_ENDPOINT", f"{url}/v1/projects/-/serviceAccounts/{{}}:generateIdToken"
    )
