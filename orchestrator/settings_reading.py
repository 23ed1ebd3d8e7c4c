"""Reading the settings: all of them, or one error that lists all that is wrong."""

from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import SettingsError

from orchestrator.errors import BadUsage
from orchestrator.settings import Settings

_WITHOUT_GOOGLE = (
    '  (To try it without Google: mayfly emulator --demo, and in another terminal: eval "$(mayfly emulator env)")'
)

S = TypeVar("S", bound=Settings)


def read_settings(kind: type[S] = Settings, /, **flags: Any) -> S:  # type: ignore[assignment] # Settings is an S
    """All settings, or one BadUsage that lists all that is wrong with them. A flag that is None was not given."""
    try:
        return kind(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as wrong:
        errors = wrong.errors(include_url=False)
        problems = "\n".join(f"  {_sentence(error)}" for error in errors)
        if any(error["loc"] == ("project_id",) and error["type"] == "missing" for error in errors):
            problems += f"\n{_WITHOUT_GOOGLE}"
    except (SettingsError, ValueError) as unreadable:  # an .env that is not UTF-8
        problems = f"  {unreadable}"
    raise BadUsage(
        f"Settings are missing or wrong:\n{problems}\n"
        "Set them in the environment, in .env, in mayfly.toml or as flags (mayfly run --help)."
    )


def _sentence(error: Any) -> str:
    name = str(error["loc"][0])
    setting = Settings.model_fields[name]
    if error["type"] == "missing":
        example = f" For example {setting.examples[0]}." if setting.examples else ""
        return f"{name.upper()} is not set: {setting.description}{example}"
    what = str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    secret = error["input"] is None or "SecretStr" in str(setting.annotation)
    value = "" if secret else f"={error['input']}"
    return f"{name.upper()}{value} {what}"
