"""The Whisper model at work on a device."""

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctranslate2  # type: ignore[import-untyped]
from faster_whisper import WhisperModel  # type: ignore[import-untyped]

from vm_agent.jobs.transcribe.errors import BadParams, BrokenModel, DeviceError, TranscriptionError
from vm_agent.jobs.transcribe.params import Params
from vm_agent.jobs.transcribe.sound import PART_SECONDS, Samples, Sound, in_parts
from vm_agent.jobs.transcribe.transcript import Segment, Transcript, Word

# onnxruntime, which finds the speech in a recording, reports to Microsoft on every process that does not say no first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@dataclass(frozen=True)
class Device:
    """What the model runs on."""

    name: str  # cuda | cpu
    compute_type: str


@dataclass(frozen=True)
class Engine:
    """A loaded model."""

    model: WhisperModel
    device: Device


def choose_device(params: Params) -> Device:
    """Look at this machine; quick, so that a wrong wish fails before anything is downloaded."""
    with _speaking_our_errors(params.model):
        name = device_for(params.device, ctranslate2.get_cuda_device_count())
        supported = ctranslate2.get_supported_compute_types(name)
    return Device(name, compute_type_for(params.compute_type, name, supported))


def device_for(wanted: str, gpus: int) -> str:
    """A GPU when there is one; never silently the CPU when a GPU was asked for."""
    if wanted == "cuda" and not gpus:
        raise DeviceError("Param 'device' is cuda, and there is no usable GPU here. Add one, or say auto or cpu.")
    if wanted == "auto":
        return "cuda" if gpus else "cpu"
    return wanted


def compute_type_for(wanted: str, device: str, supported: Collection[str]) -> str:
    """float16 on a GPU (float32 on one too old for it), int8 on a CPU."""
    if wanted == "auto":
        best = "float16" if device == "cuda" else "int8"
        return best if best in supported else "float32"
    if wanted not in supported:
        raise DeviceError(
            f"The {device} of this machine cannot compute in {wanted}. "
            f"Param 'compute_type' can be auto, {', '.join(sorted(supported))}."
        )
    return wanted


def load_engine(folder: Path, device: Device, params: Params) -> Engine:
    """Load a model from its folder; asks nothing of the network."""
    with _speaking_our_errors(params.model):
        model = WhisperModel(str(folder), device.name, compute_type=device.compute_type, local_files_only=True)
    refuse_language(params, model.supported_languages)
    return Engine(model, device)


def transcribe(
    engine: Engine,
    sound: Sound,
    params: Params,
    heard: Callable[[Segment], None],
    part_seconds: float = PART_SECONDS,
) -> Transcript:
    """Turn sound into text, part by part, telling of each segment as it is found."""
    began = time.monotonic()
    segments: list[Segment] = []
    language, probability = params.language, 1.0
    for start, samples in in_parts(sound.samples, part_seconds):
        with _speaking_our_errors(params.model):
            found, info = _listen(engine, samples, params, language)
            for segment in (_segment(part, start) for part in found):
                if segment.text:
                    segments.append(segment)
                    heard(segment)
        if language is None:
            probability = info.language_probability
            language = info.language if segments else None  # nobody has spoken yet: detect it in the next part
    return Transcript(
        segments=tuple(segments),
        language=language or info.language,
        language_probability=probability,
        audio_seconds=sound.seconds,
        seconds_elapsed=time.monotonic() - began,
        model=params.model,
        device=engine.device.name,
        compute_type=engine.device.compute_type,
        task=params.task,
        warnings=sound.warnings if segments else (*sound.warnings, "No speech was found."),
    )


def explain(failure: str, model: str) -> TranscriptionError:
    """What to do about a failure of the inference library, which has only messages to tell one from another."""
    said = failure.lower()
    if "out of memory" in said or "bad_alloc" in said or "alloc_failed" in said:
        return DeviceError(
            f"Not enough memory for model {model}: {failure}. Take a smaller model, or compute_type int8."
        )
    if "cuda" in said or "libcu" in said or "cudnn" in said or "cublas" in said:
        return DeviceError(
            f"The GPU does not work: {failure}. CUDA 12 with cuBLAS and cuDNN 9 is needed (pip install "
            "nvidia-cublas-cu12 nvidia-cudnn-cu12, on LD_LIBRARY_PATH); device cpu does without."
        )
    return BrokenModel(f"Model {model} cannot be used: {failure}. Fetch or convert it again.")


@contextmanager
def _speaking_our_errors(model: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as failed:
        raise explain(str(failed) or "out of memory", model) from failed


def refuse_language(params: Params, supported: Collection[str]) -> None:
    """A model for English alone would transcribe anything, as English."""
    if params.language is not None and params.language not in supported:
        known = ", ".join(sorted(supported))
        raise BadParams(f"Model {params.model} does not know language {params.language!r}; it knows {known}.")
    if params.task == "translate" and len(supported) == 1:
        raise BadParams(f"Model {params.model} knows English alone and cannot translate. Take one without `.en`.")


def _listen(engine: Engine, samples: Samples, params: Params, language: str | None) -> tuple[Iterator[Any], Any]:
    heard: tuple[Iterator[Any], Any] = engine.model.transcribe(
        samples,
        language=language,
        task=params.task,
        beam_size=params.beam_size,
        vad_filter=params.vad,
        word_timestamps=params.word_timestamps,
        initial_prompt=params.initial_prompt,
    )
    return heard


def _segment(part: Any, offset: float) -> Segment:
    return Segment(
        start=round(part.start + offset, 3),
        end=round(part.end + offset, 3),
        text=part.text.strip(),
        avg_logprob=round(part.avg_logprob, 4),
        no_speech_prob=round(part.no_speech_prob, 4),
        words=None if part.words is None else tuple(_word(word, offset) for word in part.words),
    )


def _word(word: Any, offset: float) -> Word:
    start, end = round(word.start + offset, 3), round(word.end + offset, 3)
    return Word(start, end, word.word.strip(), round(word.probability, 4))
