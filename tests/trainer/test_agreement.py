import types

import pytest

from tests.conftest import make_recipe
from trainer import agreement, config, errors


def host(index: int, said: list[bytes]):
    """A process of two: what it says is noted, and it hears the rest."""

    def exchange(payload: bytes) -> list[bytes]:
        said[index] = payload
        return list(said)

    return types.SimpleNamespace(is_chief=index == 0, exchange=exchange)


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


def speak(index: int, said: list[bytes], *bindings: str) -> None:
    recipe = make_recipe(*bindings)
    agreement.check_same_config(host(index, said), recipe)


def test_processes_with_another_config_are_named() -> None:
    said = [b"", b""]
    recipe = make_recipe()
    said[0] = said[1] = (
        f"{recipe.train_data.source.info.fingerprint}\n{config.all_bindings()}"
    ).encode()
    speak(0, said)
    with pytest.raises(errors.ConfigError) as caught:
        speak(1, said, "train.seed = 7", 'tfrecords.data_dir = "/elsewhere"')
    message = str(caught.value)
    assert "Process 1 of 2" in message
    assert "train.seed: default -> 7" in message
    assert "elsewhere" not in message


def test_other_data_is_another_config() -> None:
    said = [b"", b""]
    recipe = make_recipe()
    said[0] = b"other data\n" + config.all_bindings().encode()
    with pytest.raises(errors.ConfigError, match="different fingerprints"):
        agreement.check_same_config(host(1, said), recipe)
