"""What the gateway is told from outside: the only place where its environment is read."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from vm_agent.gateway import policy
from vm_agent.gateway.keys import BadKeys, Keys
from vm_agent.settings import BadSetting

EXPLAINED = """\
settings, from the environment:
  MAYFLY_GATEWAY_UPSTREAM       the service: https://NAME, nothing behind it (needed)
  MAYFLY_GATEWAY_KEYS           who may pass: lines NAME=KEY, at least 16 characters a key; a name may have two (needed)
  MAYFLY_GATEWAY_CERTIFICATE    certificate chain for HTTPS: PEM text, or the path of a PEM file; "own": one that the
                                gateway makes and keeps, and publishes as the guest attribute mayfly/agent
  MAYFLY_GATEWAY_CERTIFICATE_KEY  its private key, likewise (default: it is in there as well)
  MAYFLY_GATEWAY_PLAIN=1        no HTTPS here: something in front of the gateway ends it (always so on loopback)
  MAYFLY_GATEWAY_AUDIENCE       of the ID token (default: the upstream)
  MAYFLY_GATEWAY_BODY_BYTES_MAX an upload's limit (default: 8 GiB)
  MAYFLY_GATEWAY_ANSWER_SECONDS until an answer begins, and between two pieces of it (default: 3600)
  MAYFLY_GATEWAY_STALL_SECONDS  for a piece of a body to come, or to be taken, on either side (default: 60)
  MAYFLY_GATEWAY_REQUESTS_MAX   at once (default: 512)
  AGENT_PORT                    the port (default: 8000)
  GCE_METADATA_HOST             the metadata server, where it is not Google's
"""


OWN = "own"  # in the place of a certificate


@dataclass(frozen=True)
class Settings:
    """One field for each setting; EXPLAINED has their names."""

    upstream: str
    keys: Keys
    certificate: str
    certificate_key: str
    plain: bool
    audience: str
    body_bytes_max: int
    answer_seconds: float
    stall_seconds: float
    requests_max: int
    port: int
    metadata_host: str
    root: Path


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings, or BadSetting."""
    upstream = _origin(environment.get("MAYFLY_GATEWAY_UPSTREAM", "").strip())
    try:
        keys = Keys(environment.get("MAYFLY_GATEWAY_KEYS", ""))
    except BadKeys as problem:
        raise BadSetting(f"MAYFLY_GATEWAY_KEYS: {problem}") from problem
    return Settings(
        upstream=upstream,
        keys=keys,
        certificate=environment.get("MAYFLY_GATEWAY_CERTIFICATE", "").strip(),
        certificate_key=environment.get("MAYFLY_GATEWAY_CERTIFICATE_KEY", "").strip(),
        plain=environment.get("MAYFLY_GATEWAY_PLAIN", "").lower() in {"1", "true", "yes"},
        audience=environment.get("MAYFLY_GATEWAY_AUDIENCE", "").strip() or upstream,
        body_bytes_max=_number(environment, "MAYFLY_GATEWAY_BODY_BYTES_MAX", policy.BODY_BYTES_MAX, 1 << 50),
        answer_seconds=_number(environment, "MAYFLY_GATEWAY_ANSWER_SECONDS", int(policy.ANSWER_SECONDS), 86400),
        stall_seconds=_number(environment, "MAYFLY_GATEWAY_STALL_SECONDS", int(policy.STALL_SECONDS), 3600),
        requests_max=_number(environment, "MAYFLY_GATEWAY_REQUESTS_MAX", policy.REQUESTS_MAX, policy.REQUESTS_MAX),
        port=_number(environment, "AGENT_PORT", 8000, 65535),
        metadata_host=environment.get("GCE_METADATA_HOST") or "169.254.169.254",
        root=Path(environment.get("MAYFLY_ROOT") or "/"),
    )


def _origin(text: str) -> str:
    """https, so that whoever answers must have the certificate of that name: the metadata server has none, whatever a
    name server says. Plain http goes to this machine itself only: it is for tests."""
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        host = ""
    if not host or text != f"{url.scheme}://{host}{f':{port}' if port else ''}":
        raise BadSetting(f"MAYFLY_GATEWAY_UPSTREAM is {text!r}, not https://NAME of the service")
    address = _address(host)
    if url.scheme != "https" and not (url.scheme == "http" and address and address.is_loopback):
        raise BadSetting(f"MAYFLY_GATEWAY_UPSTREAM is {text!r}: an ID token goes over https only")
    if (address and address.is_link_local) or host.endswith(("metadata.google.internal", "metadata")):
        raise BadSetting(f"MAYFLY_GATEWAY_UPSTREAM is {text!r}: the metadata server is nothing to publish")
    return text


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _number(environment: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not 0 <= int(text) <= most:
        raise BadSetting(f"{name} is {text!r}, not a whole number up to {most}")
    return int(text)
