"""What all processes of a run must agree on before they train together."""

import json
from collections.abc import Callable, Mapping

from trainer import config, engine, errors, recipe, rundir


def on_chief(on: engine.Engine, function: Callable[[], object]) -> None:
    """Calls a function in the chief process; its ConfigError fails them all.

    Without this the others would wait for a chief that has ended.

    Raises:
        errors.ConfigError: The function has raised it, on the chief.
    """
    problem = ""
    if on.is_chief:
        try:
            function()
        except errors.ConfigError as error:
            problem = str(error)
    problem = on.exchange(problem.encode())[0].decode()
    if problem:
        raise errors.ConfigError(problem)


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
