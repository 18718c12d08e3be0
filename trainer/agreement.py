"""What all processes of a run must agree on before they train together."""

import json
from collections.abc import Callable, Mapping

from input import errors as input_errors
from trainer import config, engine, errors, recipe, rundir

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
    if not answer:
        return
    # All know now, and most of them end.
    on.leave_together()
    if failed is not None:
        raise failed
    kind, _, text = answer.partition("\n")
    if kind in _USERS:
        raise _USERS[kind](text)
    raise errors.EngineError(
        f"Process 0, which writes for all, has ended with {kind}: {text}"
    )


def check_same_config(
    on: engine.Engine, chosen: recipe.Recipe, flags: Mapping[str, object]
) -> None:
    """Makes sure that all processes run the same training on the same data.

    Args:
        on: Joins the processes.
        chosen: What this process is about to train.
        flags: Value of each flag that decides what is done with it.

    Raises:
        errors.ConfigError: One differs; the message says which and in what.
    """
    own = json.dumps([_facts(chosen, flags), config.all_bindings()])
    said = [json.loads(text) for text in on.exchange(own.encode())]
    expected, expected_bindings = said[0]
    for number, (facts, bindings) in enumerate(said):
        changed = [
            f"{name}: {expected[name]} -> {value}"
            for name, value in facts.items()
            # What one of them does not know cannot be compared.
            if None not in (value, expected[name]) and value != expected[name]
        ]
        changed += [
            str(difference)
            for difference in config.differences(
                config.settings(expected_bindings), config.settings(bindings)
            )
            # Where the data lies may differ, what it holds may not.
            if not difference.name.startswith(
                ("DATA_DIR", "tfrecords.data_dir")
            )
        ]
        if changed:
            on.leave_together()
            raise errors.ConfigError(
                f"Process {number} of {len(said)} runs another training than "
                "process 0:\n  " + "\n  ".join(changed) + "\nStart all "
                "processes with the same flags, code and data."
            )


def _facts(
    chosen: recipe.Recipe, flags: Mapping[str, object]
) -> dict[str, object]:
    """Returns what must be the same besides the bindings; None: not known."""
    data = {
        "train_data": chosen.train_data,
        "eval_data": chosen.eval_data,
        "test_data": chosen.test_data,
    }
    fingerprints = {
        f"fingerprint of {name}": split and split.source.info.fingerprint
        for name, split in data.items()
    }
    return fingerprints | rundir.software() | dict(flags)
