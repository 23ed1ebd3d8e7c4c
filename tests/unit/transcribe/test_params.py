from typing import Any

import pytest

from vm_agent.jobs.transcribe.errors import BadParams
from vm_agent.jobs.transcribe.params import params_from


def test_a_recording_alone_is_enough() -> None:
    params = params_from({"audio": "talk.mp3"})
    assert (params.model, params.device, params.language, params.vad) == ("large-v3", "auto", None, True)


def test_words_from_a_command_line_are_understood_as_numbers_and_switches() -> None:
    params = params_from({"audio": "talk.mp3", "beam_size": "3", "vad": "false", "max_hours": "0.5"})
    assert (params.beam_size, params.vad, params.max_hours) == (3, False, 0.5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Param 'audio' is needed: a path, or a file:, http(s): or gs: URL of a recording."),
        ({"audio": "a", "modle": "tiny"}, "There is no param 'modle'; did you mean 'model'?"),
        ({"audio": "a", "zzz": 1}, "There is no param 'zzz'; there are audio, model, language,"),
        ({"audio": "a", "device": "gpu"}, "Param 'device' cannot be 'gpu': should be 'auto', 'cuda' or 'cpu'."),
        ({"audio": "a", "beam_size": 0}, "Param 'beam_size' cannot be 0: should be greater than or equal to 1."),
        ({"audio": "a", "language": "English"}, "Param 'language' cannot be 'English'"),
        ({"audio": "https://host:port/a.mp3"}, "Param 'audio' cannot be 'https://host:port/a.mp3': Port could not"),
        ({"audio": "https://[::1/a.mp3"}, "Param 'audio' cannot be 'https://[::1/a.mp3': Invalid IPv6 URL."),
    ],
)
def test_what_cannot_be_used_is_named_with_the_way_out(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadParams) as refused:
        params_from(given)
    assert message in str(refused.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(BadParams, match=r"'modle'.*'beam_size'|'beam_size'.*'modle'"):
        params_from({"audio": "a", "modle": "tiny", "beam_size": "many"})
