"""What all processes of a run must agree on before they train together."""

from collections.abc import Callable

from input import errors as input_errors
from trainer import config, engine, errors, recipe

# The mistakes of a user, which every process reports by itself.
_USERS: dict[str, type[Exception]] = {
    "ConfigError": errors.ConfigError,
    "DataError": input_errors.DataError,
}


def on_chief(on: engine.Engine, function: Callable[[], object]) -> None:
    """Calls a function in the chief process; what it raises ends them all.

    Without this the others would wait for a chief that has ended.

    Raises:
        errors.ConfigError: The function has raised it, on the chief.
        input_errors.DataError: So here.
        errors.EngineError: It has raised something else; the chief itself
            raises what that was.
    """
    failed: Exception | None = None
    if on.is_chief:
        try:
            function()
        except Exception as error:
            failed = error
    answer = "" if failed is None else f"{type(failed).__name__}\n{failed}"
    answer = on.exchange(answer.encode())[0].decode()
    if failed is not None:
        raise failed
    if answer:
        kind, _, text = answer.partition("\n")
        if kind in _USERS:
            raise _USERS[kind](text)
        raise errors.EngineError(
            f"Process 0, which writes for all, has ended with {kind}: {text}"
        )


def check_same_config(on: engine.Engine, chosen: recipe.Recipe) -> None:
    """Makes sure that all processes run the same training on the same data.

    Raises:
        errors.ConfigError: One differs; the message says which and in what.
    """
    fingerprint = chosen.train_data.source.info.fingerprint
    everyone = on.exchange(f"{fingerprint}\n{config.all_bindings()}".encode())
    ours = [text.decode().partition("\n") for text in everyone]
    fingerprint, _, bindings = ours[0]
    expected = config.settings(bindings)
    for number, (other_fingerprint, _, other) in enumerate(ours):
        changed = [
            str(difference)
            for difference in config.differences(
                expected, config.settings(other)
            )
            # Where the data lies may differ, what it holds may not.
            if not difference.name.startswith(
                ("DATA_DIR", "tfrecords.data_dir")
            )
        ]
        if other_fingerprint != fingerprint:
            changed.append("the data sets have different fingerprints")
        if changed:
            raise errors.ConfigError(
                f"Process {number} of {len(ours)} runs another config than "
                "process 0:\n  " + "\n  ".join(changed) + "\nStart all "
                "processes with the same flags, code and data."
            )
