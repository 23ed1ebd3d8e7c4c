"""Who gets in: the tokens and keys that open the agent's door, and every one that does not."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.agent_at_work import agent_process, an_agent, at_work
from tests.contract.running_vm import a_running_vm
from tests.signing import AUDIENCE, CALLER, NOON, SigningKey, key_set
from vm_agent import policy
from vm_agent.auth import ApiKeys, Credential, IdToken
from vm_agent.protocol import audience_of
from vm_agent.signed import GoogleKeys

google, somebody = SigningKey(), SigningKey()


def tokens_of(*callers: str, now: Callable[[], float] = lambda: NOON, reachable: bool = True) -> IdToken:
    async def fetch() -> bytes:
        if not reachable:
            raise OSError("no route")
        return key_set(google)

    return IdToken(GoogleKeys(fetch, now), AUDIENCE, callers)


def a_token(signer: SigningKey = google, now: float = NOON, **different: Any) -> str:
    """A good one, but for what is different."""
    return signer.token(now, **different)


async def asked(
    folder: Path, *credentials: Credential, headers: dict[str, str], path: str = "/", method: str = "GET"
) -> httpx.Response:
    async with at_work(an_agent(folder, credentials=credentials), wait=False) as client:
        del client.headers["X-API-Key"]
        return await client.request(method, path, headers=headers)


def is_unauthorized(refused: httpx.Response) -> None:
    assert refused.status_code == 401, refused.text
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json()["code"] == "unauthorized"


async def test_a_caller_in_the_list_gets_in_with_its_token(tmp_path: Path):
    with_token = {"Authorization": f"Bearer {a_token(email='Mayfly@Demo.iam.gserviceaccount.com')}"}
    greeted = await asked(tmp_path, tokens_of("a@x.org", CALLER.upper()), headers=with_token)
    assert "boot_id" in greeted.json()


OTHER_VM = audience_of("demo", "us-central1-a", "gpu-vm-2")
REFUSED = [
    ("no token at all", "", "no credentials"),
    ("not a Bearer token", "Basic bWF5Zmx5OmtleQ==", "Authorization is not a Bearer token"),
    ("garbage", "Bearer abc", "it is not a token"),
    ("wrong audience", a_token(aud="https://gpu-vm.example.org"), "its audience is 'https://gpu-vm.example.org'"),
    ("another VM's, shown to this one", a_token(aud=OTHER_VM), f"its audience is '{OTHER_VM}'"),
    ("another zone's VM of that name", a_token(aud=audience_of("demo", "us-east1-b", "gpu-vm")), "its audience is"),
    ("wrong email", a_token(email="me@demo.iam.gserviceaccount.com"), "'me@demo.iam.gserviceaccount.com' is none of"),
    ("no email", a_token(email=None), "'None' is none of MAYFLY_CALLERS"),
    ("unverified email", a_token(email_verified=False), f"Google has not verified the email '{CALLER}'"),
    ("nothing said of the email", a_token(email_verified=None), "Google has not verified the email"),
    ("an email verified in words", a_token(email_verified="true"), "Google has not verified the email"),
    ("expired", a_token(now=NOON - 3660), "it expired 60 s ago"),
    ("not yet valid", a_token(now=NOON + 60), "it is not valid before 60 s from now"),
    ("signed by somebody else", a_token(somebody), "its signature does not hold"),
    ("of another issuer", a_token(iss="https://issuer.example.org"), "its issuer is 'https://issuer.example.org'"),
    ("unsigned", google.forged("none"), "it is signed with 'none'"),
    ("signed with what everybody can read", google.forged("HS256"), "it is signed with 'HS256'"),
]  # fmt: skip


@pytest.mark.parametrize(("shown", "why"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
async def test_any_other_token_is_refused_and_only_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, shown: str, why: str
):
    token = shown if " " in shown or not shown else f"Bearer {shown}"
    headers = {"Authorization": token} if token else {}
    refused = await asked(tmp_path, tokens_of(CALLER), headers=headers, path="/run")
    is_unauthorized(refused)
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="mayfly agent"'
    assert "refused 127.0.0.1: GET '/run': " in caplog.text
    assert why in caplog.text
    for part in filter(None, token.removeprefix("Bearer ").split(".")):
        assert part not in caplog.text, "no token is ever logged"


async def test_all_refusals_are_the_same_to_the_caller(tmp_path: Path):
    """A body, a header or a status that differed would tell an attacker which part was right."""
    refusals = []
    for number, (_, shown, _) in enumerate(REFUSED):
        folder = tmp_path / str(number)
        folder.mkdir()
        headers = {"Authorization": shown if " " in shown else f"Bearer {shown}"} if shown else {}
        refused = await asked(folder, tokens_of(CALLER), headers=headers, path="/run")
        refusals.append((refused.status_code, refused.text, sorted(refused.headers.items())))
    assert len({repr(refusal) for refusal in refusals}) == 1
    assert "mayfly-callers" in refusals[0][1], "and it helps whoever set it up"
    assert CALLER not in refusals[0][1]
    assert AUDIENCE not in refusals[0][1]


async def test_a_token_that_expires_while_its_caller_is_known_is_refused(tmp_path: Path):
    now = [NOON]
    agent = an_agent(tmp_path, credentials=[tokens_of(CALLER, now=lambda: now[0])])
    async with at_work(agent, wait=False) as client:
        client.headers = {"Authorization": f"Bearer {a_token()}"}
        for seconds, status in ((0, 200), (3629, 200), (3631, 401)):
            now[0] = NOON + seconds
            assert (await client.get("/runs")).status_code == status


async def test_only_the_bare_health_answer_is_open_to_anybody_and_it_says_one_word(tmp_path: Path):
    async with at_work(an_agent(tmp_path)) as client:
        del client.headers["X-API-Key"]
        assert (await client.get("/")).json() == {"status": "ok"}
        asked = [("GET", path) for path in ("/run", "/test", "/runs", "/runs/x", "/openapi.json", "/docs", "/nowhere")]
        for method, path in [
            *asked,
            ("POST", "/run"),
            ("POST", "/poweroff"),
            ("POST", "/"),
            ("POST", "/runs/x/cancel"),
        ]:
            is_unauthorized(await client.request(method, path))


async def test_an_agent_that_is_not_ready_tells_only_its_callers_why(tmp_path: Path):
    async with at_work(an_agent(tmp_path, gpu_required=True), wait=False) as client:
        while (await client.get("/")).json()["stage"] != "gpu":
            await asyncio.sleep(0.01)
        del client.headers["X-API-Key"]
        bare = await client.get("/")
    assert (bare.status_code, bare.json()) == (503, {"status": "starting"})


async def test_a_credential_of_a_kind_that_is_not_taken_is_refused_even_at_the_open_door(tmp_path: Path):
    """Who says who they are shall not take the answer for anybody as one for them."""
    with_key = {"X-API-Key": "open sesame"}
    is_unauthorized(await asked(tmp_path, tokens_of(CALLER), headers=with_key))
    (tmp_path / "another").mkdir()
    with_token = {"Authorization": f"Bearer {a_token()}"}
    is_unauthorized(await asked(tmp_path / "another", ApiKeys(["open sesame"]), headers=with_token))


async def test_a_wrong_key_is_refused_and_the_caller_is_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    refused = await asked(tmp_path, ApiKeys(["open sesame"]), headers={"X-API-Key": "open barley"})
    is_unauthorized(refused)
    assert "mayfly-agent-key" in refused.json()["detail"]
    assert "refused 127.0.0.1: GET '/': the API key is wrong" in caplog.text
    assert "barley" not in caplog.text


async def test_what_a_stranger_writes_cannot_forge_a_line_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = "/x%0aWARNING%20all%20is%20well" + "x" * 1000
    await asked(tmp_path, ApiKeys(["k"]), headers={}, path=path)
    [line] = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert "\n" not in line
    assert len(line) < 400


@pytest.mark.parametrize(
    ("valid", "shown", "lets_in"),
    [
        (["new", "old"], "new", True),
        (["new", "old"], "old", True),
        (["new", "old"], "new\nold", False),
        (["new"], "old", False),
    ],
    ids=["the new key", "the old key, while both are valid", "both in one", "the old key, rotated out"],
)
async def test_keys_are_rotated_with_two_of_them_valid_at_once(
    tmp_path: Path, valid: Sequence[str], shown: str, *, lets_in: bool
):
    async with at_work(an_agent(tmp_path, credentials=[ApiKeys(valid)]), wait=False) as client:
        # httpx would not send a line break; a whole ASGI server would not pass it on.
        headers = {"X-API-Key": shown.replace("\n", " ")}
        assert (await client.get("/runs", headers=headers)).status_code == (200 if lets_in else 401)


async def test_where_both_ways_are_open_either_will_do(tmp_path: Path):
    both = (ApiKeys(["sesame"]), tokens_of(CALLER))
    right, wrong = {"X-API-Key": "sesame"}, {"X-API-Key": "barley"}
    token, expired = f"Bearer {a_token()}", f"Bearer {a_token(now=NOON - 9999)}"
    async with at_work(an_agent(tmp_path, credentials=both), wait=False) as client:
        del client.headers["X-API-Key"]
        for headers in (right, {"Authorization": token}, wrong | {"Authorization": token}):
            assert (await client.get("/runs", headers=headers)).status_code == 200
        assert (await client.get("/runs", headers=right | {"Authorization": expired})).status_code == 200
        refused = await client.get("/runs", headers=wrong | {"Authorization": expired})
    is_unauthorized(refused)
    assert refused.headers["WWW-Authenticate"] == 'ApiKey realm="mayfly agent", Bearer realm="mayfly agent"'


async def test_without_googles_keys_a_token_is_neither_taken_nor_refused(tmp_path: Path):
    with_token = {"Authorization": f"Bearer {a_token()}"}
    unsure = await asked(tmp_path, tokens_of(CALLER, reachable=False), headers=with_token)
    assert (unsure.status_code, unsure.json()["code"]) == (503, "not-ready")
    assert unsure.headers["Retry-After"] == "1"


async def test_failed_attempts_are_held_up_and_a_right_token_passes(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    agent = an_agent(tmp_path, credentials=[tokens_of(CALLER)])
    async with at_work(agent, wait=False) as client:
        del client.headers["X-API-Key"]
        known = {"Authorization": f"Bearer {a_token()}"}
        assert (await client.get("/runs", headers=known)).status_code == 200
        told = []
        for guess in range(20 * policy.ATTEMPTS_AT_ONCE):
            guessed = {"Authorization": f"Bearer {guess}.{guess}.{guess}"}
            told.append(await client.get("/runs", headers=guessed))
        held_up = [refused for refused in told if refused.status_code == 429]
        assert {refused.status_code for refused in told[: policy.ATTEMPTS_AT_ONCE]} == {401}
        assert held_up
        assert held_up[0].json()["code"] == "too-many-attempts"
        assert held_up[0].headers["Retry-After"] == "1"
        assert (await client.get("/runs", headers=known)).status_code == 200, "known before, never held up"
        fresh = {"Authorization": f"Bearer {a_token(sub='another')}"}
        async with asyncio.timeout(20):
            while (await client.get("/runs", headers=fresh)).status_code == 429:
                await asyncio.sleep(0.05)
        assert (await client.get("/runs", headers=fresh)).status_code == 200
    assert caplog.text.count("refused") < 3 * policy.ATTEMPT_LINES_AT_ONCE


async def test_the_real_agent_takes_its_vms_tokens_and_keeps_all_secrets_out_of_its_log(tmp_path: Path):
    async with a_running_vm(tmp_path) as vm:
        environment = {
            "MAYFLY_AUTH": "both",
            "MAYFLY_CALLERS": vm.caller,
            **vm.environment(tmp_path),
            "MAYFLY_API_KEY": "the new key\nopen sesame",
        }
        async with agent_process(tmp_path, **environment) as agent:
            client = agent.client
            assert "boot_id" in (await client.get("/")).json(), "with the key that is on its way out"
            del client.headers["X-API-Key"]
            token = await vm.token(vm.audience)
            other = await vm.token(vm.audience + "-2")
            greeting = await client.get("/", headers={"Authorization": f"Bearer {token}"})
            assert greeting.json()["instance_id"] == vm.instance_id
            is_unauthorized(await client.get("/", headers={"Authorization": f"Bearer {other}"}))
            is_unauthorized(await client.get("/runs", headers={"X-API-Key": "the newest key"}))
            is_unauthorized(await client.get("/runs"))
            said = await agent.end()
    assert said.count("refused 127.0.0.1") == 3
    for secret in ("the new key", "open sesame", "the newest key", *token.split("."), *other.split(".")[1:]):
        assert secret not in said
