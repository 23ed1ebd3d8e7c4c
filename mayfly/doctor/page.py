"""docs/troubleshooting.md, made of the checks' own words."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from mayfly.doctor.examine import CHECKS, SETTINGS, SETTINGS_OUGHT, WRONG_SETTINGS
from mayfly.doctor.findings import Trouble

_INTRODUCTION = """\
# Trouble

`mayfly doctor` looks at everything that a run rests on, changes nothing, and never starts a VM. Each line is

- `ok`;
- `warn`: a run will go well; something else will not, or costs money;
- `fail`: a run will not go well, or money is being spent;
- `skipped`: it does not apply, or rests on something that another line says is missing.

The exit code is 1 if anything fails, else 0; `--json` is for programs.

Below is all that it can find, in its own words, and what mends it. CAPITALS stand for your names. What `mayfly deploy`
made, `mayfly deploy` mends as well. It cannot see firewall policies (of a network, or above the project), the firewall
of a network that is another project's, organization policies, whether the VM's image holds a GPU driver, and whether
your job works.
"""


def troubleshooting_page() -> str:
    """The whole page, in Markdown."""
    sections = [_section(SETTINGS, SETTINGS_OUGHT, [WRONG_SETTINGS])]
    sections += [_section(check.name, check.ought, check.troubles) for check in CHECKS]
    return _INTRODUCTION + "".join(f"\n{part}\n" for section in sections for part in section)


def _section(name: str, ought: str, troubles: Sequence[Trouble]) -> Iterator[str]:
    yield f"## `{name}`"
    yield ought
    for trouble in troubles:
        yield f"**{trouble.level}** {_filled_in(trouble.says)}"
        yield _filled_in(trouble.mend)
        if trouble.command:
            yield f"    {_filled_in(trouble.command)}"


def _filled_in(words: str) -> str:
    return words.format_map(_Capitals(str))


class _Capitals(defaultdict[str, str]):
    """{instance} -> INSTANCE."""

    def __missing__(self, name: str) -> str:
        return name.upper()
