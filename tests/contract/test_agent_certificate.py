"""The agent's certificate: made once per boot, kept to itself, and published with patience before it listens."""

import asyncio
import os
import ssl
import stat
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tests.clocks import BootClock
from tests.contract.agent_at_work import agent_environment
from tests.contract.wires import Answer, Asked, http, serving
from tests.signing import SigningKey
from vm_agent import policy
from vm_agent.certificate import NotPublished, of_this_boot, publish
from vm_agent.identity import GooglesWord, Metadata
from vm_agent.protocol import CERTIFICATE_NAME, PUBLICATION, Publication


@asynccontextmanager
async def a_metadata_server(statuses: Sequence[int], asked: list[Asked], value: str = "") -> AsyncIterator[Metadata]:
    """Answers with these, and with 200 from then on."""
    left = list(statuses)

    async def say(request: Asked) -> Answer:
        asked.append(request)
        return http(left.pop(0) if left else 200, value.encode())

    async with serving(say) as url:
        yield Metadata(url.removeprefix("http://"))


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


async def test_what_is_published_is_the_certificate_that_the_key_file_holds(tmp_path: Path) -> None:
    made, asked = of_this_boot(tmp_path, "boot-1"), list[Asked]()
    async with a_metadata_server([], asked) as metadata:
        await publish(made, metadata)
    [put] = asked
    assert (put.method, put.path) == ("PUT", f"/computeMetadata/v1/instance/guest-attributes/{PUBLICATION}")
    assert put.headers["metadata-flavor"] == "Google"
    publication = Publication.model_validate_json(put.body)
    assert publication == made.publication
    assert publication.boot_id == "boot-1"
    assert publication.certificate in made.file.read_text()
    assert len(publication.certificate) < 1024
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(made.file)


def test_it_is_an_ecdsa_p_256_certificate_that_can_sign_no_other(tmp_path: Path) -> None:
    certificate = x509.load_pem_x509_certificate(of_this_boot(tmp_path, "b").publication.certificate.encode())
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [CERTIFICATE_NAME]


async def test_an_agent_that_starts_again_in_the_same_boot_takes_the_same_and_asks_nobody(tmp_path: Path) -> None:
    asked: list[Asked] = []
    async with a_metadata_server([], asked) as metadata:
        first = of_this_boot(tmp_path, "boot-1")
        await publish(first, metadata)
        again = of_this_boot(tmp_path, "boot-1")
        await publish(again, metadata)
    assert again == first
    assert len(asked) == 1


async def test_one_that_was_never_published_is_of_no_use_to_the_next(tmp_path: Path) -> None:
    lost = of_this_boot(tmp_path, "boot-1")
    assert of_this_boot(tmp_path, "boot-1").publication.certificate != lost.publication.certificate


async def test_another_boot_has_another_one(tmp_path: Path) -> None:
    async with a_metadata_server([], []) as metadata:
        made = of_this_boot(tmp_path, "boot-1")
        await publish(made, metadata)
    again = of_this_boot(tmp_path, "boot-2")
    assert again.publication.certificate != made.publication.certificate
    assert again.publication.audience != made.publication.audience


async def test_without_a_boot_id_nothing_is_taken_over(tmp_path: Path) -> None:
    async with a_metadata_server([], []) as metadata:
        made = of_this_boot(tmp_path, "")
        await publish(made, metadata)
    assert of_this_boot(tmp_path, "").publication.certificate != made.publication.certificate


async def test_the_key_is_for_nobody_elses_eyes(tmp_path: Path) -> None:
    made = of_this_boot(tmp_path, "boot-1")
    assert stat.S_IMODE(made.file.stat().st_mode) == 0o600
    assert "PRIVATE KEY" not in made.publication.model_dump_json()


async def test_a_metadata_server_that_stumbles_is_asked_again(tmp_path: Path) -> None:
    asked: list[Asked] = []
    async with a_metadata_server([503, 429, 500, 503], asked) as metadata:
        await publish(of_this_boot(tmp_path, "boot-1"), metadata, sleep=at_once)
    assert len(asked) == 5
    assert len({request.body for request in asked}) == 1


async def test_one_that_is_down_is_not_asked_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "PUBLISH_SECONDS", 0.05)
    async with a_metadata_server([503] * 10_000, []) as metadata:
        with pytest.raises(NotPublished, match="did not take the certificate"):
            await publish(of_this_boot(tmp_path, "boot-1"), metadata, sleep=at_once)


async def test_guest_attributes_that_are_off_are_told_at_once_with_the_remedy(tmp_path: Path) -> None:
    asked: list[Asked] = []
    async with a_metadata_server([403], asked) as metadata:
        with pytest.raises(NotPublished, match="enable-guest-attributes=TRUE"):
            await publish(of_this_boot(tmp_path, "boot-1"), metadata)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("left", "kept"),
    [(3600, 600), (400, 340), (62, 5), (-9999, 5), (None, 5)],
    ids=["fresh", "half over", "almost over", "over by a wrong clock", "not a token"],
)
async def test_the_identity_token_is_for_nonce_and_certificate_and_kept_while_it_holds(
    left: float | None, kept: float
) -> None:
    asked, clock = list[Asked](), BootClock()
    now = clock.now().timestamp()
    token = "a token" if left is None else SigningKey().token(now, exp=now + left)
    async with a_metadata_server([], asked, token) as metadata:
        word = GooglesWord(metadata, "mayfly/n/c", clock)
        assert [await word.token(), await word.token()] == [token, token]
        clock.seconds += kept - 1
        await word.token()
        assert len(asked) == 1
        clock.seconds += 1
        await word.token()
    assert [request.query for request in asked] == [{"audience": "mayfly/n/c", "format": "full"}] * 2
    assert asked[0].path == "/computeMetadata/v1/instance/service-accounts/default/identity"


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({}, "no metadata server to publish a certificate with: 0.0.0.0 is not for plain HTTP"),
        ({"MAYFLY_TLS": "on"}, "MAYFLY_TLS is 'on', neither pinned nor off"),
    ],
)
async def test_plain_http_is_for_this_machine_alone_unless_it_is_asked_for(
    tmp_path: Path, environment: dict[str, str], complaint: str
) -> None:
    said = await begun(tmp_path, **environment)
    assert complaint in said


async def begun(folder: Path, **environment: str) -> str:
    """What `python -m vm_agent --host 0.0.0.0` says before it ends with exit code 2."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vm_agent", "--host", "0.0.0.0", "--port", "0"),
        env={**os.environ, **agent_environment(folder), **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    return said.decode()
