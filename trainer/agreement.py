"""What all processes of a run must agree on before they train together."""

from collections.abc import Callable

from trainer import config, engine, errors, recipe


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
