"""Fingerprints: "essentially a hash of the contents", so that A -> B -> A restores the first one (as at Google)."""

import base64
from collections.abc import Iterable, Mapping
from hashlib import sha256


def fingerprint(contents: Mapping[str, str] | Iterable[str]) -> str:
    """Hash these contents to eight bytes in URL-safe base64, whatever their order."""
    parts = [f"{key}\0{value}" for key, value in contents.items()] if isinstance(contents, Mapping) else list(contents)
    digest = sha256("\1".join(sorted(parts)).encode()).digest()
    return base64.urlsafe_b64encode(digest[:8]).decode()
