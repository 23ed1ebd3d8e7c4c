"""Where the recording comes from: a file of the app folder, or a download that leaves nothing behind."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from vm_agent.jobs.transcribe.bucket import download_object
from vm_agent.jobs.transcribe.download import TooLarge, download, shown
from vm_agent.jobs.transcribe.errors import BadParams, NoSuchAudio, OverlongAudio

MEGABYTE = 1_000_000
STEM_BYTES_MAX = 200  # file systems allow 255; the endings need a few


@contextmanager
def opened(audio: str, *, megabytes_max: float) -> Iterator[BinaryIO]:
    """The recording, ready to read and seek. Relative paths start at the app folder, where jobs run."""
    scheme = scheme_of(audio)
    if scheme in {"", "file"}:
        with _local(url2pathname(urlsplit(audio).path) if scheme else audio) as file:
            yield file
        return
    if scheme not in {"http", "https", "gs"}:
        raise BadParams(f"Param 'audio' cannot be a {scheme}: URL. Give a path, or a file:, http(s): or gs: URL.")
    with tempfile.TemporaryFile() as file:  # it has no name, so nothing is left behind even after a SIGKILL
        try:
            fetch = download_object if scheme == "gs" else download
            fetch(audio, file, bytes_max=megabytes_max * MEGABYTE)
        except TooLarge:
            raise OverlongAudio(
                f"{shown(audio)} is larger than {megabytes_max:g} MB. Raise max_megabytes, or give a smaller file."
            ) from None
        file.seek(0)
        yield file


def scheme_of(audio: str) -> str:
    """`https` of a URL; nothing for a path."""
    matched = re.match(r"([a-z][a-z0-9+.-]+):", audio, re.IGNORECASE)
    return matched[1].lower() if matched else ""


def shown_name(audio: str) -> str:
    """The recording as messages may name it."""
    return shown(audio) if scheme_of(audio) in {"http", "https"} else audio


def stem_of(audio: str) -> str:
    """What the transcript's files are called: the recording's name without its ending."""
    path = unquote(urlsplit(audio).path) if scheme_of(audio) else audio
    name = re.sub(r"[^\w. -]", "_", path.rstrip("/").rpartition("/")[2])
    stem = name.rpartition(".")[0] or name
    return stem.strip(". ").encode()[:STEM_BYTES_MAX].decode(errors="ignore") or "audio"


def _local(name: str) -> BinaryIO:
    path = Path(name).expanduser().absolute()
    if path.is_dir():
        raise NoSuchAudio(f"{path} is a folder. Param 'audio' names one recording.")
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise NoSuchAudio(f"There is no file {path}. A relative path starts at the app folder, {Path.cwd()}.") from None
    except OSError as denied:
        raise NoSuchAudio(f"{path} cannot be read: {os.strerror(denied.errno or 0)}.") from None
    return file
