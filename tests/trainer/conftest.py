"""What the tests of the trainer share."""

import pathlib
import shutil
from collections.abc import Callable

import pytest

from tests.trainer.test_main import call, tiny
from trainer import main

FinishedRun = Callable[..., None]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Fills a model_dir with a finished run of tests/tiny.gin.

    Each choice of bindings is trained once; what a test gets is a copy of its
    own.
    """
    trained: dict[tuple[str, ...], pathlib.Path] = {}

    def fill(model_dir: pathlib.Path, *bindings: str) -> None:
        if bindings not in trained:
            place = tmp_path_factory.mktemp("finished")
            assert call(main, *tiny(place, *bindings)) == 0
            trained[bindings] = place
        shutil.copytree(trained[bindings], model_dir, dirs_exist_ok=True)

    return fill
