import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent.parent
WITHOUT_THE_EXTRA = """
import sys, pathlib
sys.modules.update({"ctranslate2": None, "faster_whisper": None, "av": None})
from vm_agent.job import Context
from vm_agent.jobs.transcribe import run
run(Context({"audio": "talk.wav"}, "run", pathlib.Path()))
"""


def test_an_agent_without_the_extra_says_what_to_install() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_EXTRA], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert "MissingExtra: ctranslate2 is not installed here. Install the extra: mayfly[transcribe]." in ended.stderr
