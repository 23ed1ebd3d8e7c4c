"""How we know again what we made. What lacks the mark is used as it is, and never changed or removed."""

from orchestrator.google_admin import Json
from orchestrator.seen import OUR_LABEL

LABELS = dict([OUR_LABEL])
DESCRIPTION = "Made by mayfly deploy"


def described(what: str) -> str:
    """A description that is a mark."""
    return f"{DESCRIPTION}: {what}."


def is_described(seen: Json) -> bool:
    """The mark of what has a description: nobody but us writes these words."""
    return str(seen.get("description", "")).startswith(DESCRIPTION)


def is_labelled(seen: Json) -> bool:
    """The mark of what has labels only."""
    return set(LABELS.items()) <= set(seen.get("labels", {}).items())
