"""What was heard, as values, and the three ways to write it down. Nothing here touches a file or a model."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

RESULT_TEXT_MAX = 4_000  # characters: the result travels in receipts, the whole text in the .txt


@dataclass(frozen=True)
class Word:
    """One word and when it was said."""

    start: float  # seconds from the start of the recording
    end: float
    text: str
    probability: float


@dataclass(frozen=True)
class Segment:
    """A sentence or part of one, as Whisper cuts them."""

    start: float  # seconds from the start of the recording
    end: float
    text: str
    avg_logprob: float
    no_speech_prob: float
    words: tuple[Word, ...] | None = None  # None: no word timestamps were asked for


@dataclass(frozen=True)
class Transcript:
    """A whole recording as text, with what it was made with."""

    segments: tuple[Segment, ...]
    language: str
    language_probability: float
    audio_seconds: float
    seconds_elapsed: float  # of the transcription alone: neither download nor loading of the model
    model: str
    device: str
    compute_type: str
    task: str
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All of it, one line."""
        return " ".join(segment.text for segment in self.segments)

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for one second of sound: 0.05 is twenty times as fast as listening."""
        return round(self.seconds_elapsed / self.audio_seconds, 4)


def as_text(transcript: Transcript) -> str:
    """One segment a line."""
    return "".join(f"{segment.text}\n" for segment in transcript.segments)


def as_srt(segments: Iterable[Segment]) -> str:
    """SubRip subtitles, as players and editors read them."""
    cues = (
        f"{number}\n{srt_time(segment.start)} --> {srt_time(segment.end)}\n{segment.text}\n"
        for number, segment in enumerate(segments, 1)
    )
    return "\n".join(cues)


def srt_time(seconds: float) -> str:
    """`01:02:03,456`."""
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02},{milliseconds % 1000:03}"


def as_document(transcript: Transcript) -> dict[str, Any]:
    """Everything, for programs."""
    return {**summary(transcript), "text": transcript.text, "segments": [asdict(part) for part in transcript.segments]}


def as_result(transcript: Transcript, files: Iterable[str]) -> dict[str, Any]:
    """What the run returns: small enough for a receipt."""
    text = transcript.text
    return {
        "text": text[:RESULT_TEXT_MAX],
        "text_truncated": len(text) > RESULT_TEXT_MAX,
        **summary(transcript),
        "files": list(files),
    }


def summary(transcript: Transcript) -> dict[str, Any]:
    """The facts about a transcript, without its text."""
    return {
        "language": transcript.language,
        "language_probability": round(transcript.language_probability, 4),
        "audio_seconds": round(transcript.audio_seconds, 3),
        "seconds_elapsed": round(transcript.seconds_elapsed, 3),
        "real_time_factor": transcript.real_time_factor,
        "words": len(transcript.text.split()),
        "task": transcript.task,
        "model": transcript.model,
        "device": transcript.device,
        "compute_type": transcript.compute_type,
        "warnings": list(transcript.warnings),
    }
