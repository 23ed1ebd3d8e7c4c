"""What can be seen to be wrong before anything is touched, and would else be found when the VM has cost money."""

import socket
import tempfile
import time
from pathlib import Path

from orchestrator.errors import BadUsage
from orchestrator.settings import Auth, Settings

_EMULATOR_SECONDS = 5.0  # it may have been started just before us
_PAUSE_SECONDS = 0.1


def check_ready(settings: Settings) -> None:
    """Raise BadUsage if the results could not be kept, or if no emulator is where the settings say."""
    if settings.out is not None:
        _check_folder(settings.out)
    _check_emulator("COMPUTE_EMULATOR_HOST", settings.compute_emulator_host)
    if settings.auth is Auth.API_KEY and settings.agent_key is None:
        _check_emulator("SECRET_MANAGER_EMULATOR_HOST", settings.secret_manager_emulator_host)


def _check_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        why = "it is no folder" if out.is_file() else error.strerror
        raise BadUsage(f"Nothing can be written to {out}, where OUT or --out wants the results: {why}.") from error


def _check_emulator(name: str, value: str | None) -> None:
    if value is None:
        return
    host, _, port = value.rpartition("://")[2].rstrip("/").rpartition(":")
    if not (host and port.isdecimal()):
        raise BadUsage(f"{name}={value} must be host:port, for example 127.0.0.1:8475.")
    give_up = time.monotonic() + _EMULATOR_SECONDS
    while not _answers(host, int(port)):
        if time.monotonic() > give_up:
            raise BadUsage(
                f"Nothing answers at {host}:{port}, where {name} points. "
                f"Start it: mayfly emulator --demo --port {port}; or unset {name} to work with Google."
            )
        time.sleep(_PAUSE_SECONDS)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host.strip("[]"), port), timeout=1).close()
    except (OSError, OverflowError):
        return False
    return True
