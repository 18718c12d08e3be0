import contextlib
import dataclasses
import types

import keras
import pytest
import tensorflow as tf

from tests.conftest import make_recipe
from trainer import agreement, errors, rundir
from trainer import recipe as recipe_lib


def host(index: int, said: list[bytes]):
    """A process of two: what it says is noted, and it hears the rest."""

    def exchange(payload: bytes) -> list[bytes]:
        said[index] = payload
        return list(said)

    return types.SimpleNamespace(
        is_chief=index == 0, exchange=exchange, leave_together=lambda: None
    )


def test_a_chiefs_problem_is_everybodys() -> None:
    said = [b"", b""]

    def fail() -> None:
        raise errors.ConfigError("the disk is full of frogs")

    with pytest.raises(errors.ConfigError, match="frogs"):
        agreement.on_chief(host(0, said), fail)
    with pytest.raises(errors.ConfigError, match="frogs"):
        agreement.on_chief(host(1, said), lambda: pytest.fail("not for me"))


def test_the_chief_has_no_problem() -> None:
    called = []
    agreement.on_chief(host(0, [b"", b""]), lambda: called.append(1))
    assert called == [1]


FLAGS = {"--dry_run": False}


def hear(recipe: recipe_lib.Recipe, flags=FLAGS) -> bytes:
    """What a process with this recipe says."""
    said = [b"", b""]
    with contextlib.suppress(ValueError):  # nobody has said anything yet
        agreement.check_same_config(host(0, said), recipe, flags)
    return said[0]


def refusal(chief: bytes, recipe: recipe_lib.Recipe, flags=FLAGS) -> str:
    """The message with which process 1 ends, "" if it goes on."""
    try:
        agreement.check_same_config(host(1, [chief, b""]), recipe, flags)
    except errors.ConfigError as error:
        return str(error)
    return ""


def test_processes_with_another_config_are_named() -> None:
    chief = hear(make_recipe())
    assert refusal(chief, make_recipe()) == ""
    other = make_recipe("train.seed = 7", 'tfrecords.data_dir = "/elsewhere"')
    message = refusal(chief, other)
    assert "Process 1 of 2" in message
    assert "train.seed: default -> 7" in message
    assert "elsewhere" not in message


@pytest.mark.parametrize("role", ["train_data", "eval_data", "test_data"])
def test_other_data_is_another_training(role: str) -> None:
    """The same bindings, but what lies there differs."""
    bindings = (
        "train.test_data = @test_data()",
        "test_data.source = %SOURCE",
        'test_data.split = "test"',
    )
    chief = hear(make_recipe(*bindings))
    recipe = make_recipe(*bindings)
    data = getattr(recipe, role)
    info = dataclasses.replace(data.source.info, fingerprint="f" * 64)
    source = types.SimpleNamespace(info=info)
    changed = dataclasses.replace(
        recipe, **{role: dataclasses.replace(data, source=source)}
    )
    message = refusal(chief, changed)
    expected = f"fingerprint of {role}: {data.source.info.fingerprint} -> ffff"
    assert expected in message
    assert message.count(" -> ") == 1


def test_other_code_is_another_training(monkeypatch) -> None:
    software = {"tensorflow": "2.20.0", "keras": "3.15.1", "git_commit": "a1"}
    monkeypatch.setattr(rundir, "software", lambda: software)
    recipe = make_recipe()
    chief = hear(recipe)
    for name in software:
        other = software | {name: "x"}
        monkeypatch.setattr(rundir, "software", lambda other=other: other)
        assert f"  {name}: {software[name]} -> x\n" in refusal(chief, recipe)
    # Outside a checkout nobody knows the commit.
    monkeypatch.setattr(
        rundir, "software", lambda: software | {"git_commit": None}
    )
    assert refusal(chief, recipe) == ""


def test_other_flags_are_another_training() -> None:
    recipe = make_recipe()
    message = refusal(hear(recipe), recipe, {"--dry_run": True})
    assert "--dry_run: False -> True" in message


def test_what_is_compared_of_the_software() -> None:
    found = rundir.software()
    assert found["tensorflow"] == tf.__version__
    assert found["keras"] == keras.__version__
    assert set(found) - {"tensorflow", "keras"} == {
        "lockstep_version",
        "git_commit",
    }
