"""The agent's key and certificate: made at each boot, and published before the agent listens. A gateway keeps its own.

No authority signs it, and it names no host. What makes it worth something is where it is published: only this VM can
write its own guest attributes, and only who may use the project can read them.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from vm_agent import policy
from vm_agent.identity import Metadata, Refused
from vm_agent.protocol import CERTIFICATE_NAME, PUBLICATION, Publication

# "No well-defined expiration" (RFC 5280): it ends with the boot, and a VM's clock may be wrong when that begins.
_FROM, _UNTIL = datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

log = logging.getLogger(__name__)


class NotPublished(Exception):
    """Callers could not know whom to trust. Says why."""


@dataclass(frozen=True)
class Certificate:
    """This boot's. `file` holds the private key and the certificate, in PEM."""

    file: Path
    publication: Publication


def of_this_boot(folder: Path, boot_id: str, epoch: int = 0) -> Certificate:
    """The one that an agent of this boot has published before us, else a new one. OSError if it cannot be kept.

    `epoch`: of the lease on the VM. By it the orchestrator knows the publication of the boot that it waits for.
    """
    file = folder / "tls.pem"
    try:
        publication = Publication.model_validate_json((folder / "published.json").read_bytes())
        if boot_id and publication.boot_id == boot_id and publication.certificate in file.read_text(encoding="ascii"):
            return Certificate(file, publication)
    except (OSError, ValueError, ValidationError):
        pass
    key, certificate = _new()
    folder.mkdir(parents=True, exist_ok=True)
    _write(file, key + certificate)
    nonce = secrets.token_hex(16)
    return Certificate(file, Publication(boot_id=boot_id, nonce=nonce, epoch=epoch, certificate=certificate))


def kept(folder: Path, boot_id: str) -> Certificate:
    """One for all boots of this machine, for callers who cannot read what each publishes. OSError if it cannot be."""
    file = folder / "tls.pem"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(file, "".join(_new()))
    _, begin, rest = file.read_text(encoding="ascii").partition("-----BEGIN CERTIFICATE-----")
    return Certificate(file, Publication(boot_id=boot_id, nonce=secrets.token_hex(16), certificate=begin + rest))


async def publish(
    certificate: Certificate, metadata: Metadata, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Once per boot: what was published is remembered beside the key. NotPublished after PUBLISH_SECONDS of tries."""
    text = certificate.publication.model_dump_json().encode()
    remembered = certificate.file.with_name("published.json")
    if remembered.exists() and remembered.read_bytes() == text:
        return
    try:
        async with asyncio.timeout(policy.PUBLISH_SECONDS):
            await _patiently(text, metadata, sleep)
    except TimeoutError as problem:
        raise NotPublished(
            f"the metadata server did not take the certificate in {policy.PUBLISH_SECONDS:.0f} s"
        ) from problem
    except Refused as problem:
        raise NotPublished(
            f"the metadata server does not take the certificate ({problem}): the VM needs enable-guest-attributes=TRUE "
            "in its metadata"
        ) from problem
    _write(remembered, text.decode())


async def _patiently(text: bytes, metadata: Metadata, sleep: Callable[[float], Awaitable[None]]) -> None:
    pause = policy.PUBLISH_PAUSE_SECONDS
    while True:
        try:
            await metadata.write(f"instance/guest-attributes/{PUBLICATION}", text)
        except Refused:
            raise
        except OSError as problem:
            log.warning("the certificate is not published yet: %s", problem)
            await sleep(pause)
            pause = min(2 * pause, policy.PUBLISH_PAUSE_SECONDS_MAX)
        else:
            return


def _new() -> tuple[str, str]:
    """A private key, and the certificate that it has signed for itself; both in PEM."""
    from cryptography import x509  # noqa: PLC0415 - slow to import, and an agent that starts again needs none of it
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, CERTIFICATE_NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(CERTIFICATE_NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private.decode(), certificate.public_bytes(pem).decode()


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and for nobody else's eyes."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)
