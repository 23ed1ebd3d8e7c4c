"""Speech to text with Whisper: the job `vm_agent.jobs.transcribe:run`.

    mayfly run vm_agent.jobs.transcribe:run --set audio=https://example.org/talk.mp3 --set model=large-v3

Params, outputs, models and GPUs: docs/transcribe.md. `errors` lists what can go wrong.
"""

import json
from pathlib import Path
from typing import Any

from vm_agent.job import Context
from vm_agent.jobs.transcribe.errors import MissingExtra
from vm_agent.jobs.transcribe.params import Params, params_from
from vm_agent.jobs.transcribe.source import opened, shown_name, stem_of
from vm_agent.jobs.transcribe.transcript import Segment, Transcript, as_document, as_result, as_srt, as_text


def run(context: Context) -> dict[str, Any]:
    """Transcribe one recording. In rehearsal: its first second, by the same model and device, and no files."""
    params = params_from(context.params)
    transcript = _transcript(context, params)
    for warning in transcript.warnings:
        context.log(f"Warning: {warning}")
    files = [] if context.rehearsal else _write(context.artifacts, stem_of(params.audio), transcript)
    context.progress(1.0, "done")
    return as_result(transcript, files)


def _transcript(context: Context, params: Params) -> Transcript:
    try:  # late, because these libraries take most of a second, and only where the extra is installed
        from vm_agent.jobs.transcribe import engine, models, sound  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise MissingExtra(f"{missing.name} is not installed here. Install the extra: mayfly[transcribe].") from missing

    device = engine.choose_device(params)
    context.progress(0.0, "reading the recording")
    name = shown_name(params.audio)
    with opened(params.audio, megabytes_max=params.max_megabytes) as file:
        if context.rehearsal:
            recording = sound.read_first_second(file, name)
        else:
            recording = sound.read_sound(file, name, seconds_max=params.max_hours * 3600)
    context.progress(0.0, f"loading model {params.model}")
    loaded = engine.load_engine(models.model_folder(params.model, context.log), device, params)
    context.log(f"Transcribing {recording.seconds:.1f} s on {device.name} in {device.compute_type}.")

    def heard(segment: Segment) -> None:
        context.log(f"[{segment.start:8.2f} - {segment.end:8.2f}] {segment.text}")
        context.progress(segment.end / recording.seconds, f"{segment.end:.0f} of {recording.seconds:.0f} s")

    return engine.transcribe(loaded, recording, params, heard)


def _write(folder: Path, stem: str, transcript: Transcript) -> list[str]:
    """Write the three files, each whole or not at all, whenever the run is cut off."""
    document = json.dumps(as_document(transcript), ensure_ascii=False, indent=1)
    contents = {
        f"{stem}.txt": as_text(transcript),
        f"{stem}.srt": as_srt(transcript.segments),
        f"{stem}.json": f"{document}\n",
    }
    for name, content in contents.items():
        draft = folder / f".{name}.part"
        try:
            draft.write_text(content, encoding="utf-8")
            draft.replace(folder / name)
        finally:
            draft.unlink(missing_ok=True)
    return list(contents)
