"""`mayfly.toml` as it is written: every name, with what it means; what is not set is there as a comment.

`python -m mayfly.deploy.document` prints the example that ships.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from textwrap import wrap
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mayfly.deploy.config import IMAGE_VARIABLE
from mayfly.deploy.tables import Firewall, Job, Schedule, Sweep, Vm
from orchestrator.settings import Settings
from orchestrator.spans import written

Values = Mapping[str, Any]
# Said elsewhere: secrets in .env or Secret Manager, emulators and Cloud Run in the environment.
_ELSEWHERE = ("agent_key", "notify_url", "mayfly_certs_url", "gce_metadata_host")
_WIDTH = 118
_HEAD = f"""\
# One file for `mayfly deploy`, which makes what it says, and for `mayfly run`, which uses it. `mayfly init` writes it.
# Environment variables come first: the settings by their names in capitals (PROJECT_ID), those of a table as
# MAYFLY_TABLE_NAME (MAYFLY_VM_DISK_GB), and {IMAGE_VARIABLE} for the image. No secrets in here: they have names only.
"""
EXAMPLE: Values = {
    "project_id": "my-project",
    "zone": "us-central1-a",
    "instance": "gpu-vm",
    "static_name": "gpu-ip",
    "mayfly_job": "main:run",
    "timeout": "1h",
    "vm": {
        "machine_type": "g2-standard-4",
        "image": "my-project/debian-with-driver",
        "source": "https://github.com/me/my-bot",
        "ref": "0123456789abcdef0123456789abcdef01234567",
        "secrets": {"EXCHANGE_KEY": "exchange-key"},
    },
    "job": {"secrets": {"NOTIFY_URL": "mayfly-notify-url"}},
    "schedule": [{"name": "daily", "cron": "30 6 * * *", "time_zone": "Asia/Seoul", "once_per": "1d"}],
}


def document(values: Values) -> str:
    """The whole file, with these values."""
    parts = [_HEAD.rstrip(), *_settings(values)]
    for name, kind in (("vm", Vm), ("job", Job)):
        parts += _table(f"[{name}]", kind, values.get(name, {}))
    for schedule in values.get("schedule", []) or [None]:
        parts += _table("[[schedule]]", Schedule, schedule)
    parts += _table("[sweep]", Sweep, values.get("sweep", {}))
    parts += _table("[firewall]", Firewall, values.get("firewall", {}))
    return "\n".join(parts) + "\n"


def setting_names() -> list[str]:
    """The settings that belong into the file."""
    names = (name for name in Settings.model_fields if not name.startswith("cloud_run"))
    return [name for name in names if not name.endswith("emulator_host") and name not in _ELSEWHERE]


def _settings(values: Values) -> Iterator[str]:
    for name in setting_names():
        yield from _entry(name, Settings.model_fields[name], values)


def _table(heading: str, kind: type[BaseModel], values: Values | None) -> Iterator[str]:
    """A table that is not there at all (None) is a comment as a whole."""
    yield from ("", *_comment((kind.__doc__ or "").strip()))
    yield heading if values is not None else f"# {heading}"
    for name, field in kind.model_fields.items():
        yield from _entry(name, field, values or {})


def _entry(name: str, field: FieldInfo, values: Values) -> Iterator[str]:
    yield from ("", *_comment(f"{field.description}"))
    if values.get(name) is not None:
        yield f"{name} = {_toml(values[name])}"
    else:
        yield f"# {name} = {_toml(_default(field))}"


def _default(field: FieldInfo) -> Any:
    """An example, where there is no default."""
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    if default is None:
        return field.examples[0] if field.examples else ""
    return default


def _comment(text: str) -> Sequence[str]:
    return [f"# {line}" for line in wrap(text.replace("\n", " "), _WIDTH)]


def _toml(value: Any) -> str:
    match value:
        case timedelta():
            return json.dumps(written(value))
        case bool() | int() | float():
            return json.dumps(value)
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            inner = ", ".join(f"{name} = {_toml(one)}" for name, one in value.items())
            return f"{{ {inner} }}" if inner else "{}"
    return json.dumps(str(value), ensure_ascii=False)


if __name__ == "__main__":
    print(document(EXAMPLE), end="")  # noqa: T201 - that is what it is for
