"""What Google has signed: every way in which a token can be wrong is refused, and nothing but that is said of it."""

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.signing import AUDIENCE, CALLER, NOON, SigningKey, claims, key_set
from vm_agent import signed
from vm_agent.signed import BadToken, GoogleKeys, NoKeys

ours, other, newer = SigningKey("k1"), SigningKey("k1"), SigningKey("k2")


class Google:
    """Publishes keys, and counts how often it was asked."""

    def __init__(self, *keys: SigningKey) -> None:
        self.body: bytes | Exception = key_set(*keys)
        self.asked = 0
        self.now = NOON
        self.answers = asyncio.Event()
        self.answers.set()

    async def fetch(self) -> bytes:
        self.asked += 1
        await self.answers.wait()
        if isinstance(self.body, Exception):
            raise self.body
        return self.body

    def keys(self) -> GoogleKeys:
        return GoogleKeys(self.fetch, lambda: self.now)


async def checked(token: str, google: Google | None = None) -> Mapping[str, Any]:
    return await (google or Google(ours)).keys().claims(token, AUDIENCE)


@pytest.mark.parametrize(
    "different",
    [
        {},
        {"iss": "accounts.google.com"},
        {"exp": NOON - 29},
        {"iat": NOON + 29},
        {"nbf": NOON + 29},
        {"iat": NOON - 0.5, "exp": NOON + 0.5},
    ],
)
async def test_a_good_token_tells_what_google_says(different: dict[str, Any]):
    assert (await checked(ours.token(**different)))["email"] == CALLER


@pytest.mark.parametrize(
    ("different", "why"),
    [
        ({"aud": f"{AUDIENCE}-2"}, "its audience is '//compute.*gpu-vm-2', not '//compute.*gpu-vm'"),
        ({"aud": AUDIENCE.upper()}, "its audience is"),
        ({"aud": [AUDIENCE]}, "its audience is"),
        ({"aud": None}, "its audience is None"),
        ({"iss": "https://accounts.google.com.evil.example"}, "its issuer is"),
        ({"iss": "https://securetoken.google.com/demo"}, "its issuer is"),
        ({"iss": None}, "its issuer is None"),
        ({"exp": NOON - 31}, "it expired 31 s ago"),
        ({"exp": None}, "its exp is None"),
        ({"exp": "never"}, "its exp is 'never'"),
        ({"exp": True}, "its exp is True"),
        ({"exp": float("inf")}, "its exp is inf"),
        ({"exp": float("nan")}, "its exp is nan"),
        ({"exp": 10**400}, "its exp is 1000"),
        ({"iat": NOON + 31}, "it is not valid before 31 s from now"),
        ({"iat": None}, "its iat is None"),
        ({"nbf": NOON + 31}, "it is not valid before 31 s from now"),
        ({"nbf": "soon"}, "its nbf is 'soon'"),
    ],
)  # fmt: skip
async def test_a_token_of_googles_for_something_else_or_another_time_is_refused(different: dict[str, Any], why: str):
    token = jwt.api_jws.encode(json.dumps(claims(**different)).encode(), ours.private, "RS256", {"kid": ours.name})
    with pytest.raises(BadToken, match=why):
        await checked(token)


async def test_a_token_without_signature_is_refused_whatever_it_says_of_itself():
    with pytest.raises(BadToken, match="signed with 'none', not with RS256"):
        await checked(ours.forged("none"))


@pytest.mark.parametrize("form", ["PEM", "JWK"])
async def test_the_public_key_is_no_secret_to_sign_with(form: str):
    """HS256 with what everybody can read: the oldest trick."""
    secret = ours.pem() if form == "PEM" else json.dumps(ours.published()).encode()
    with pytest.raises(BadToken, match="signed with 'HS256', not with RS256"):
        await checked(ours.forged("HS256", secret))


async def test_somebody_elses_key_under_googles_name_does_not_do():
    with pytest.raises(BadToken, match="its signature does not hold"):
        await checked(other.token())


async def test_what_was_signed_cannot_be_changed():
    head, payload, signature = ours.token(aud="//elsewhere").split(".")
    changed = base64.urlsafe_b64encode(json.dumps(claims()).encode()).rstrip(b"=").decode()
    assert payload != changed
    with pytest.raises(BadToken, match="its signature does not hold"):
        await checked(f"{head}.{changed}.{signature}")


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
async def test_googles_key_used_in_another_way_is_refused(algorithm: str):
    with pytest.raises(BadToken, match=f"signed with '{algorithm}'"):
        await checked(jwt.encode(claims(), ours.private, algorithm, {"kid": ours.name}))


@pytest.mark.parametrize("payload", [b"[]", b"\xff", b"nothing", b""])
async def test_what_is_signed_must_be_claims(payload: bytes):
    with pytest.raises(BadToken, match="what is signed is not"):
        await checked(jwt.api_jws.encode(payload, ours.private, "RS256", {"kid": ours.name}))


@pytest.mark.parametrize(
    "garbage", ["", ".", "..", "...", "a.b.c", "Bearer", "\ud800", "é.é.é", "e30.e30.e30", f"{'W1tb' * 9000}.e30.e30"]
)
async def test_garbage_is_refused(garbage: str):
    with pytest.raises(BadToken, match=r"it is not a token|signed with 'None'"):
        await checked(garbage)


@given(some.text(), some.dictionaries(some.text(), some.integers() | some.text() | some.lists(some.integers())))
def test_nothing_that_anybody_sends_is_more_than_a_bad_token(text: str, header: dict[str, Any]):
    keys = Google(ours).keys()
    head = base64.urlsafe_b64encode(json.dumps({"alg": "RS256", **header}).encode()).decode()
    for token in (text, f"{text}.{text}.{text}", f"{head}.{text}.{text}", f"{head}.e30.e30"):
        with pytest.raises(BadToken):
            asyncio.run(keys.claims(token, AUDIENCE))


async def test_keys_are_fetched_once_for_many_tokens():
    google = Google(ours)
    keys = google.keys()
    google.answers.clear()
    asking = [asyncio.create_task(keys.claims(ours.token(sub=str(i)), AUDIENCE)) for i in range(5)]
    await asyncio.sleep(0)
    google.answers.set()
    assert [(await one)["sub"] for one in asking] == list("01234")
    assert google.asked == 1


async def test_keys_that_are_fetched_ahead_are_there_when_the_first_token_comes():
    google = Google(ours)
    keys = google.keys()
    google.answers.clear()
    keys.prepare()
    await asyncio.sleep(0)
    asking = asyncio.create_task(keys.claims(ours.token(), AUDIENCE))
    google.answers.set()
    await asking
    assert google.asked == 1


async def test_keys_that_cannot_be_had_ahead_are_asked_for_again():
    google = Google(ours)
    google.body = OSError("no network yet")
    keys = google.keys()
    keys.prepare()
    await asyncio.sleep(0)
    google.body = key_set(ours)
    google.now += signed.RETRY_SECONDS
    assert await keys.claims(ours.token(), AUDIENCE)


async def test_keys_are_fetched_again_after_hours():
    google = Google(ours)
    keys = google.keys()
    await keys.claims(ours.token(), AUDIENCE)
    google.now += signed.KEYS_SECONDS - 1
    await keys.claims(ours.token(google.now), AUDIENCE)
    assert google.asked == 1
    google.now += 2
    google.body = key_set(newer)
    google.answers.clear()
    await keys.claims(ours.token(google.now), AUDIENCE)
    await keys.claims(ours.token(google.now), AUDIENCE)
    await asyncio.sleep(0)
    google.answers.set()
    await keys.claims(newer.token(google.now), AUDIENCE)
    assert google.asked == 2, "once, and nobody waited for it"
    with pytest.raises(BadToken, match="none of Google's: 'k1'"):
        await keys.claims(ours.token(google.now), AUDIENCE)


async def test_keys_do_for_a_day_if_google_is_out_of_reach_and_no_longer():
    google = Google(ours)
    keys = google.keys()
    await keys.claims(ours.token(), AUDIENCE)
    google.body = OSError("no route")
    google.now += signed.KEYS_SECONDS_MAX - 1
    for _ in range(3):
        assert await keys.claims(ours.token(google.now), AUDIENCE)
        await asyncio.sleep(0)
    google.now += 2
    with pytest.raises(NoKeys):
        await keys.claims(ours.token(google.now), AUDIENCE)


async def test_an_unknown_key_has_the_keys_fetched_once_a_minute_and_no_more():
    google = Google(ours)
    keys = google.keys()
    await keys.claims(ours.token(), AUDIENCE)
    for _ in range(3):
        with pytest.raises(BadToken, match="none of Google's: 'k2'"):
            await keys.claims(newer.token(), AUDIENCE)
    assert google.asked == 1
    google.now += signed.REFRESH_SECONDS
    google.body = key_set(ours, newer)
    await keys.claims(newer.token(), AUDIENCE)
    await keys.claims(ours.token(), AUDIENCE)
    assert google.asked == 2


@pytest.mark.parametrize(
    "body", [OSError("no route"), b"", b"{}", b'{"keys": []}', b'{"keys": [{"kty": "EC"}]}', b"[1]"]
)
async def test_without_googles_keys_nothing_is_said_of_a_token(body: bytes | Exception):
    google = Google(ours)
    google.body = body
    keys = google.keys()
    for _ in range(2):
        with pytest.raises(NoKeys, match="Google's keys cannot be fetched"):
            await keys.claims(ours.token(), AUDIENCE)
    assert google.asked == 1, "and not asked again at once"
    google.now += signed.RETRY_SECONDS
    google.body = key_set(ours)
    assert await keys.claims(ours.token(), AUDIENCE)


async def test_with_google_out_of_reach_known_keys_still_do_and_unknown_ones_are_not_judged():
    google = Google(ours)
    keys = google.keys()
    await keys.claims(ours.token(), AUDIENCE)
    google.now += signed.REFRESH_SECONDS
    google.body = OSError("no route")
    for _ in range(2):
        with pytest.raises(NoKeys, match="OSError no route"):
            await keys.claims(newer.token(), AUDIENCE)
    assert await keys.claims(ours.token(), AUDIENCE)


async def test_a_fetch_that_is_given_up_leaves_the_next_one_free():
    google = Google(ours)
    keys = google.keys()
    google.answers.clear()
    asking = asyncio.create_task(keys.claims(ours.token(), AUDIENCE))
    await asyncio.sleep(0)
    asking.cancel()
    google.answers.set()
    assert await keys.claims(ours.token(), AUDIENCE)
