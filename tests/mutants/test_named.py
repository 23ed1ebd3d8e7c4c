"""The named bugs fit the source as it is: `make mutants` puts each in, and sees it found."""

from pathlib import Path

import pytest

from tests.mutants.named import BUGS, Bug

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_named_bug_fits_the_source_and_its_tests_are_there(bug: Bug):
    source = (ROOT / bug.file).read_text(encoding="utf-8")
    assert source.count(bug.old) == 1
    compile(source.replace(bug.old, bug.new), bug.file, "exec")
    assert all((ROOT / "tests" / test).is_file() for test in bug.tests.split())


def test_each_has_its_own_name():
    assert len({bug.name for bug in BUGS}) == len(BUGS)
