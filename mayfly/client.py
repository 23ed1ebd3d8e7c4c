"""A client for whoever has a URL and a key: of a gateway, of an agent behind it, or of an agent itself.

    client = Client("https://gateway.example", os.environ["KEY"])
    audio = client.upload(Path("talk.mp3"))
    run = client.start({"audio": audio, "language": "en"}, key="talk-1")
    run = client.follow(run.id)
    client.fetch(run.id, Path("transcripts"))

Every call goes on where it was cut off. Errors are those of `orchestrator.errors`: a sentence, and the exit code.
"""

import hashlib
import io
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from mayfly.answers import NotNow, checked, understood
from orchestrator.agent_tls import trusting
from orchestrator.errors import AgentSilent, BadUsage
from vm_agent.protocol import (
    API_KEY_HEADER,
    KEY_HEADER,
    START_MEDIA_TYPE,
    UPLOAD_SCHEME,
    Artifact,
    ArtifactList,
    Job,
    Mode,
    RunList,
    RunView,
    StartRequest,
    Upload,
)

PART_BYTES = 16 << 20  # Cloud Run takes 32 MiB a request, and gives as much in one answer
WAIT_SECONDS = 25
ANSWER_SECONDS = 300.0  # a service that was asleep wakes up, loads its model
PAUSE_SECONDS = (0.5, 10.0)  # before the first other try, and at most

_THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}

M = TypeVar("M", bound=BaseModel)
Sent = Callable[[int, int], None]  # bytes that are there, of how many
News = Callable[[RunView], None]


def _nothing(*_: object) -> None: ...


class Client:
    """One service, tried for `patience_seconds` when it does not answer. `certificate`: trust this one only."""

    def __init__(
        self, url: str, key: str | None = None, *, patience_seconds: float = 300, certificate: Path | None = None
    ) -> None:
        headers = {API_KEY_HEADER: key} if key else {}
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=10)
        trust = _trusting(certificate)
        where = _checked_url(url)
        here = where.host in _THIS_MACHINE  # no proxy reaches it, or may see what is said to it
        self._http = httpx.Client(base_url=where, headers=headers, timeout=timeout, verify=trust, trust_env=not here)
        self._patience_seconds = patience_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def upload(self, path: Path, sent: Sent = _nothing) -> str:
        """Bring a file there; what a param says to name it. Only what is not there yet is sent."""
        with opened(path) as file:
            digest, size = hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
            where = f"/files/{digest}"
            here, patience = self._get(Upload, where), self._patience()
            while not here.complete:
                sent(here.size, size)
                file.seek(here.size)
                if not (part := file.read(PART_BYTES)):
                    raise BadUsage(f"{path} became shorter while it was sent. Call again once nobody writes it.")
                try:
                    here = self._sent(where, part, {"size": size, "offset": here.size})
                    patience = self._patience()
                except NotNow as problem:
                    patience.again(problem)
                    before, here = here.size, self._get(Upload, where)  # some of it may have come, or another sends it
                    patience = self._patience() if here.size > before else patience
            sent(size, size)
        return f"{UPLOAD_SCHEME}:{digest}/{path.name}"

    def known(self, key: str) -> RunView | None:
        """The run of that key, if the service remembers one."""
        runs = self._get(RunList, "/runs", {"key": key}).runs
        return runs[0] if runs else None

    def start(
        self,
        params: Mapping[str, Any],
        *,
        key: str,
        job: Job | None = None,
        mode: Mode = Mode.RUN,
        timeout_seconds: float | None = None,
    ) -> RunView:
        """Start a run, or get the one that this key means already: asking twice starts nothing twice."""
        request = StartRequest(job=job, params=dict(params), timeout_seconds=timeout_seconds)
        headers = {KEY_HEADER: key, "Content-Type": START_MEDIA_TYPE}
        body = request.model_dump_json()
        return understood(RunView, self._patiently(lambda: self._http.post(f"/{mode}", content=body, headers=headers)))

    def follow(self, run_id: str, news: News = _nothing) -> RunView:
        """This run at its end; `news` gets it whenever it changes."""
        view = self._get(RunView, f"/runs/{run_id}")
        while not view.state.finished:
            news(view)
            view = self._get(RunView, f"/runs/{run_id}", {"wait": WAIT_SECONDS, "seen": view.version})
        news(view)
        return view

    def fetch(self, run_id: str, folder: Path) -> list[Path]:
        """The files that a finished run wrote, each whole and of the right SHA-256, or not there."""
        listed = self._get(ArtifactList, f"/runs/{run_id}/artifacts").artifacts
        return [self._fetched(run_id, one, folder) for one in listed]

    def _fetched(self, run_id: str, artifact: Artifact, folder: Path) -> Path:
        place = folder.joinpath(*_parts(artifact.path))
        draft = place.with_name(f".{place.name}.part")
        url, digest = f"/runs/{run_id}/artifacts/{quote(artifact.path)}", hashlib.sha256()
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                while file.tell() < artifact.size:
                    part = {"Range": f"bytes={file.tell()}-{file.tell() + PART_BYTES - 1}"}
                    piece = self._patiently(lambda: self._http.get(url, headers=part)).content  # noqa: B023 - at once
                    digest.update(piece)
                    file.write(piece)
            if artifact.sha256 and digest.hexdigest() != artifact.sha256:
                raise AgentSilent(f"{artifact.path} did not come as it was written. Call again.")
            draft.replace(place)
        except OSError as problem:
            raise BadUsage(f"{place} cannot be written: {problem.strerror}.") from problem
        finally:
            draft.unlink(missing_ok=True)
        return place

    def _get(self, kind: type[M], path: str, query: Any = None) -> M:
        return understood(kind, self._patiently(lambda: self._http.get(path, params=query)))

    def _sent(self, where: str, part: bytes, query: Mapping[str, int]) -> Upload:
        return understood(Upload, checked(lambda: self._http.put(where, params=query, content=part)))

    def _patience(self) -> "_Patience":
        return _Patience(str(self._http.base_url), self._patience_seconds)

    def _patiently(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        patience = self._patience()
        while True:
            try:
                return checked(ask)
            except NotNow as problem:
                patience.again(problem)


class _Patience:
    """Ever longer pauses, until it is over."""

    def __init__(self, whom: str, seconds: float) -> None:
        self._whom = whom
        self._ends = time.monotonic() + seconds
        self._pause, self._most = PAUSE_SECONDS

    def again(self, why: NotNow) -> None:
        """Return when it is time; AgentSilent."""
        if time.monotonic() + self._pause > self._ends:
            raise AgentSilent(f"{self._whom} does not answer: {why}. Call again to go on.") from why
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, self._most)


def opened(path: Path | None) -> io.BufferedReader | io.BytesIO:
    """That file, or an empty one; BadUsage."""
    if path is None:
        return io.BytesIO()
    try:
        return path.open("rb")
    except OSError as problem:
        raise BadUsage(f"{path} cannot be read: {problem.strerror}.") from problem


def _trusting(certificate: Path | None) -> ssl.SSLContext:
    """A certificate that signs no other is trusted for what it is, whatever the host is called: its key says enough."""
    try:
        context = ssl.create_default_context(cafile=certificate)
        if certificate is not None and not context.get_ca_certs():
            return trusting(certificate.read_text(encoding="ascii"))
    except (OSError, ValueError) as problem:
        raise BadUsage(f"{certificate} is no certificate that can be trusted: {problem}.") from problem
    return context


def _checked_url(text: str) -> httpx.URL:
    """Keys and recordings go by https, or stay on this machine."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as problem:
        raise BadUsage(f"{text!r} is no URL: {problem}.") from problem
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo or url.query:
        raise BadUsage(f"{text!r} is not the URL of a service. It looks like https://gateway.example")
    if url.scheme == "http" and url.host not in _THIS_MACHINE:
        raise BadUsage(
            f"{text!r}: a key would be readable on the way. Use https (--certificate trusts one of your own)."
        )
    return url


def _parts(path: str) -> tuple[str, ...]:
    """A service must not write elsewhere than below the folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise BadUsage(f"The service names a file {path!r}, which is no place below --out.")
    return parts
