"""`python -m vm_agent gateway`: the gateway as a process. Exit code 2: it was set up wrongly and did not start."""

import argparse
import asyncio
import ipaddress
import logging
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import uvicorn

from vm_agent import certificate as certificates
from vm_agent import identity, serving
from vm_agent.connections import Crowd
from vm_agent.gateway import policy
from vm_agent.gateway.framing import StrictConnection
from vm_agent.gateway.relay import Limits, Relay
from vm_agent.gateway.settings import EXPLAINED, OWN, Settings, from_environment
from vm_agent.gateway.tokens import Tokens, from_metadata
from vm_agent.gateway.upstream import Patience, Upstream
from vm_agent.identity import Metadata
from vm_agent.settings import BadSetting

log = logging.getLogger("vm_agent.gateway")


def main(words: Sequence[str]) -> None:
    """Read the settings, take the port, serve until SIGTERM. Logging is set up already."""
    arguments = _arguments(words)
    talk = logging.getLogger("uvicorn.error")
    talk.setLevel(logging.ERROR)  # its comings and goings, and every line that is no HTTP: strangers send many
    talk.addFilter(lambda record: "without completing" not in record.getMessage())  # the access log has it
    try:
        settings = from_environment()
        port = settings.port if arguments.port is None else arguments.port
        asyncio.run(_serve(settings, arguments.host, port))
    except BadSetting as problem:
        log.critical("%s", problem)
        sys.exit(2)


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="vm_agent gateway",
        description="Passes requests with an X-API-Key on to one private Cloud Run service, with this VM's ID token.",
        epilog=EXPLAINED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: all)")  # noqa: S104 - its job
    parser.add_argument("--port", type=int, help="port to listen on (default: AGENT_PORT, else 8000; 0: any free one)")
    return parser.parse_args(words)


async def _serve(settings: Settings, host: str, port: int) -> None:
    metadata = Metadata(settings.metadata_host)
    if settings.certificate == OWN:
        settings = replace(settings, certificate=await _own(settings, metadata))
    context = _tls(settings, host)
    try:
        listening = await serving.listen(host, port)
    except OSError as problem:
        raise BadSetting(f"cannot listen on {host}:{port}: {problem.strerror or problem}") from problem
    _minding_the_stalled(listening, settings.stall_seconds)
    serving.allow_open_files()
    tokens = Tokens(from_metadata(metadata, settings.audience), time.time)
    upstream = Upstream(settings.upstream, Patience(settings.answer_seconds, settings.stall_seconds))
    limits = Limits(settings.body_bytes_max, settings.requests_max, settings.stall_seconds)
    relay = Relay(keys=settings.keys, tokens=tokens, upstream=upstream, limits=limits)
    scheme = "https" if context else "http"
    log.info("listening on %s://%s:%s for %s", scheme, *listening.getsockname()[:2], settings.upstream)
    try:
        await serving.TimelyServer(_config(relay, context)).serve(sockets=[listening])
    finally:
        await tokens.close()
        await upstream.close()


def _minding_the_stalled(listening: socket.socket, seconds: float) -> None:
    """Closing waits until all is taken: for ever, if a caller takes nothing. The kernel shall not wait so long."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        twice_milliseconds = int(2 * 1000 * seconds)  # ours comes first, and tells
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, twice_milliseconds)


def _config(relay: Relay, context: ssl.SSLContext | None) -> uvicorn.Config:
    return uvicorn.Config(
        relay,
        loop="asyncio",
        http=partial(StrictConnection, crowd=Crowd()),  # type: ignore[arg-type] # uvicorn only calls it
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,  # what answers says who it is
        date_header=False,
        proxy_headers=False,  # the caller's address is what the socket says
        timeout_graceful_shutdown=policy.SHUTDOWN_SECONDS,
        ssl_context_factory=(lambda _config, _default: context) if context else None,
    )


async def _own(settings: Settings, metadata: Metadata) -> str:
    """The path of our own certificate and its key, once those who may read guest attributes can know it."""
    folder = settings.root / "var/lib/mayfly/gateway"
    try:
        own = certificates.kept(folder, identity.boot_id(settings.root))
        await certificates.publish(own, metadata)
    except certificates.NotPublished as problem:
        raise BadSetting(f"MAYFLY_GATEWAY_CERTIFICATE=own: {problem}") from problem
    except OSError as problem:
        raise BadSetting(f"MAYFLY_GATEWAY_CERTIFICATE=own: no key can be kept in {folder}: {problem}") from problem
    return str(own.file)


def _tls(settings: Settings, host: str) -> ssl.SSLContext | None:
    if not settings.certificate:
        if settings.plain or _loopback(host):
            return None
        raise BadSetting(
            "no MAYFLY_GATEWAY_CERTIFICATE: keys would be readable on the way. It can be 'own'. Or allow that: "
            "MAYFLY_GATEWAY_PLAIN=1"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        with _file(settings.certificate) as chain, _file(settings.certificate_key or settings.certificate) as key:
            context.load_cert_chain(chain, key, password=_no_password)
    except (OSError, ValueError) as problem:
        raise BadSetting(
            f"MAYFLY_GATEWAY_CERTIFICATE and its key cannot be used: {type(problem).__name__}: {problem}"
        ) from problem
    return context


@contextmanager
def _file(pem: str) -> Iterator[str]:
    """OpenSSL reads files only."""
    if not pem.startswith("-----BEGIN"):
        yield pem
        return
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as file:  # 0600
        file.write(pem + "\n")
        file.flush()
        yield file.name


def _no_password() -> str:
    raise ValueError("the key asks for a password, and nobody is here to give it")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
