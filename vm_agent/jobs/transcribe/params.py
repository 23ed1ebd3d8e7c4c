"""The params of a transcription. Unknown ones are refused: a misspelt limit must not be ignored."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vm_agent.jobs.transcribe.errors import BadParams

ComputeType = Literal[
    "auto", "int8", "int8_float16", "int8_bfloat16", "int8_float32", "int16", "float16", "bfloat16", "float32"
]


class Params(BaseModel):
    """What to transcribe, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    audio: Annotated[str, Field(min_length=1)]
    model: Annotated[str, Field(min_length=1)] = "large-v3"
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")] | None = None  # None: detected from the first 30 s
    task: Literal["transcribe", "translate"] = "transcribe"
    device: Literal["auto", "cuda", "cpu"] = "auto"
    compute_type: ComputeType = "auto"
    vad: bool = True  # Whisper invents words in silence, so silence is left out
    beam_size: Annotated[int, Field(ge=1, le=20)] = 5
    word_timestamps: bool = False
    initial_prompt: str | None = None
    max_hours: Annotated[float, Field(gt=0, le=24)] = 12.0  # 0.35 GB of memory an hour, and 1 GB for all
    max_megabytes: Annotated[float, Field(gt=0)] = 2_000.0  # of one downloaded recording

    @field_validator("audio")
    @classmethod
    def _can_be_taken_apart(cls, audio: str) -> str:
        if "://" in audio:
            _ = urlsplit(audio).port  # raises on brackets and ports that no address can have
        return audio


def params_from(given: Mapping[str, Any]) -> Params:
    """Check what the caller sent; every fault is named at once."""
    try:
        return Params.model_validate(dict(given))
    except ValidationError as invalid:
        raise BadParams(" ".join(_sentence(error) for error in invalid.errors())) from None


def _sentence(error: Mapping[str, Any]) -> str:
    name = str(error["loc"][0])
    if error["type"] == "missing":
        return f"Param {name!r} is needed: a path, or a file:, http(s): or gs: URL of a recording."
    if error["type"] == "extra_forbidden":
        return f"There is no param {name!r}; {_nearest(name)}"
    reason = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"Param {name!r} cannot be {error['input']!r}: {reason}."


def _nearest(name: str) -> str:
    valid = list(Params.model_fields)
    close = get_close_matches(name, valid, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(valid)}."
