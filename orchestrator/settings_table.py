"""The README's table of settings, made from their descriptions."""

from datetime import timedelta
from typing import Any

from orchestrator.settings import Settings
from orchestrator.spans import written


def settings_table() -> str:
    """The README's table of settings, in Markdown."""
    rows = ["| name | default | what it is |", "|---|---|---|"]
    for name, setting in Settings.model_fields.items():
        rows.append(f"| `{name.upper()}` | {_default(setting)} | {setting.description} |")
    return "\n".join(rows) + "\n"


def _default(setting: Any) -> str:
    if setting.is_required():
        return "required"
    match setting.default:
        case None | "":
            return ""
        case timedelta() as span:
            return f"`{written(span)}`"
        case value:
            return f"`{value}`"
