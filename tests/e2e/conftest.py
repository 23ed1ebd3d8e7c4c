"""What several of these tests need, and what takes long to make."""

from collections.abc import Iterator

import pytest

from tests.images import Images, built_images


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """The images of the Dockerfile, built once in a run of pytest, whatever its workers."""
    own = tmp_path_factory.getbasetemp()
    in_worker = own.name.startswith("popen-")
    with built_images(tmp_path_factory.mktemp("images"), own.parent if in_worker else own) as images:
        yield images
