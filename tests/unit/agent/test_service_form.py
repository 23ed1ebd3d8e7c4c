"""MAYFLY_SERVICE: the agent as a Cloud Run service, by its environment alone."""

from pathlib import Path

import pytest

from vm_agent.settings import BadSetting, from_environment

CLOUD_RUN = {"MAYFLY_SERVICE": "1", "K_SERVICE": "transcribe", "PORT": "8080"}


def test_on_cloud_run_the_platform_says_the_port_and_who_may_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    settings = from_environment(CLOUD_RUN | {"AGENT_PORT": "9"})
    assert (settings.service, settings.port, settings.api_keys, settings.callers) == (True, 8080, (), None)
    assert settings.app == Path.cwd()
    assert settings.state.name == "mayfly"


def test_a_key_is_asked_for_where_there_is_one() -> None:
    assert from_environment(CLOUD_RUN | {"MAYFLY_API_KEY": "k"}).api_keys == ("k",)


@pytest.mark.parametrize("auth", ["id-token", "both"])
def test_googles_tokens_are_checked_by_the_platform_not_by_us(auth: str) -> None:
    with pytest.raises(BadSetting, match="Cloud Run itself checks"):
        from_environment(CLOUD_RUN | {"MAYFLY_AUTH": auth, "MAYFLY_CALLERS": "a@b.c"})


@pytest.mark.parametrize(
    "environment", [{}, {"MAYFLY_SERVICE": "1"}, {"K_SERVICE": "x"}, {"MAYFLY_SERVICE": "0", "K_SERVICE": "x"}]
)
def test_nowhere_else_does_the_agent_obey_anybody(environment: dict[str, str]) -> None:
    with pytest.raises(BadSetting, match=r"nobody could call|obey anybody"):
        from_environment(environment)


def test_a_vm_has_no_use_for_the_platform_s_port() -> None:
    settings = from_environment({"MAYFLY_AUTH": "api-key", "MAYFLY_API_KEY": "k", "PORT": "8080", "K_SERVICE": "x"})
    assert (settings.service, settings.port) == (False, 8000)


def test_a_limit_of_uploads_is_a_number() -> None:
    with pytest.raises(BadSetting, match="MAYFLY_UPLOAD_BYTES_MAX"):
        from_environment(CLOUD_RUN | {"MAYFLY_UPLOAD_BYTES_MAX": "2G"})
    assert from_environment(CLOUD_RUN | {"MAYFLY_UPLOAD_BYTES_MAX": "2000"}).upload_bytes_max == 2000
