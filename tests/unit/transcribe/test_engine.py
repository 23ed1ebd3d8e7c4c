# ruff: noqa: E402 - what is imported below may not be installed
from pathlib import Path

import pytest

from tests.speech import require

require("faster_whisper")

from vm_agent.jobs.transcribe.engine import (
    Device,
    choose_device,
    compute_type_for,
    device_for,
    explain,
    load_engine,
    refuse_language,
)
from vm_agent.jobs.transcribe.errors import BadParams, BrokenModel, DeviceError
from vm_agent.jobs.transcribe.params import Params

ON_CPU = {"int8", "int8_float32", "float32"}


@pytest.mark.parametrize(
    ("wanted", "gpus", "device"), [("auto", 0, "cpu"), ("auto", 2, "cuda"), ("cpu", 1, "cpu"), ("cuda", 1, "cuda")]
)
def test_a_gpu_is_used_when_there_is_one(wanted: str, gpus: int, device: str) -> None:
    assert device_for(wanted, gpus) == device


def test_a_missing_gpu_is_never_replaced_by_the_cpu_silently() -> None:
    with pytest.raises(DeviceError, match="device' is cuda, and there is no usable GPU here"):
        device_for("cuda", 0)


@pytest.mark.parametrize(
    ("wanted", "device", "supported", "compute_type"),
    [
        ("auto", "cpu", ON_CPU, "int8"),
        ("auto", "cuda", {"int8", "float16", "float32"}, "float16"),
        ("auto", "cuda", {"int8", "float32"}, "float32"),
        ("float32", "cpu", ON_CPU, "float32"),
    ],
)
def test_the_arithmetic_suits_the_device(wanted: str, device: str, supported: set[str], compute_type: str) -> None:
    assert compute_type_for(wanted, device, supported) == compute_type


def test_arithmetic_that_the_device_cannot_do_is_refused_with_what_it_can() -> None:
    with pytest.raises(DeviceError, match="can be auto, float32, int8, int8_float32"):
        compute_type_for("float16", "cpu", ON_CPU)


def test_this_machine_has_a_device() -> None:
    assert choose_device(Params(audio="a", device="cpu")) == Device("cpu", "int8")


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        ("CUDA failed with error out of memory", DeviceError, "Take a smaller model, or compute_type int8"),
        ("Library libcublas.so.12 is not found or cannot be loaded", DeviceError, "nvidia-cublas-cu12"),
        ("CUDA driver version is insufficient", DeviceError, "device cpu does without"),
        ("Unsupported model binary version", BrokenModel, "Fetch or convert it again"),
    ],
)
def test_what_the_inference_library_says_becomes_what_to_do(failure: str, error: type[Exception], message: str) -> None:
    explained = explain(failure, "large-v3")
    assert isinstance(explained, error)
    assert message in str(explained)
    assert failure in str(explained)


def test_a_model_file_of_nonsense_is_a_broken_model(tmp_path: Path) -> None:
    for name in ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(BrokenModel, match="Fetch or convert it again"):
        load_engine(tmp_path, Device("cpu", "int8"), Params(audio="a", model="mine"))


def test_a_language_that_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(BadParams, match="does not know language 'de'; it knows en"):
        refuse_language(Params(audio="a", language="de"), ["en"])


def test_an_english_model_does_not_translate() -> None:
    with pytest.raises(BadParams, match="cannot translate"):
        refuse_language(Params(audio="a", task="translate"), ["en"])
