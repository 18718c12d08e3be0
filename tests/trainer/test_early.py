import json

import pytest

from trainer import early, errors


def test_a_request_counts_from_its_step_on(tmp_path) -> None:
    early.ask(str(tmp_path), 30, "no better")
    assert early.asked(str(tmp_path), 29) == ""
    assert early.asked(str(tmp_path), 30) == "no better"
    # The first one decides, whoever repeats the steps before it.
    early.ask(str(tmp_path), 20, "again")
    assert json.loads((tmp_path / "STOP").read_text())["step"] == 30


def test_an_empty_file_counts_at_once(tmp_path) -> None:
    (tmp_path / "STOP").touch()
    assert "STOP is there" in early.asked(str(tmp_path), 0)
    early.forget(str(tmp_path))
    assert early.asked(str(tmp_path), 10) == ""
    early.forget(str(tmp_path))


def test_a_folder_counts_at_once_and_is_not_removed(tmp_path) -> None:
    (tmp_path / "STOP").mkdir()
    assert "STOP is there" in early.asked(str(tmp_path), 0)
    with pytest.raises(errors.OutputError, match="STOP"):
        early.forget(str(tmp_path))
