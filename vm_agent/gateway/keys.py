"""Who may pass: client keys, each with a name. The log knows the name, nothing but this file the key."""

import hashlib
import hmac
import re
from dataclasses import dataclass

from vm_agent.gateway import policy

_LINE = re.compile(r"(?P<name>[\w.@-]+)\s*=\s*(?P<key>[!-~]+)")


class BadKeys(ValueError):
    """The list of keys cannot be used. The message quotes no key."""


@dataclass(frozen=True)
class _Key:
    name: str
    digest: bytes


class Keys:
    """Lines NAME=KEY. A name may have several keys, so that a new one is valid before the old one is taken away."""

    def __init__(self, text: str) -> None:
        lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
        self._keys = [_key(number, line) for number, line in lines if line and not line.startswith("#")]
        if not self._keys:
            raise BadKeys("no key at all: nobody could pass")

    def name_of(self, key: bytes) -> str | None:
        """Whose key this is. Every key is compared, and digests of one length: the time taken tells nothing."""
        digest = hashlib.sha256(key).digest()
        names = [known.name for known in self._keys if hmac.compare_digest(digest, known.digest)]
        return names[0] if names else None


def _key(number: int, line: str) -> _Key:
    found = _LINE.fullmatch(line)
    if not found:
        raise BadKeys(f"line {number} is not NAME=KEY")
    if len(found["key"]) < policy.KEY_LENGTH_MIN:
        raise BadKeys(f"line {number}: the key of {found['name']} has fewer than {policy.KEY_LENGTH_MIN} characters")
    return _Key(found["name"], hashlib.sha256(found["key"].encode("ascii")).digest())
