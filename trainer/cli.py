"""What the binaries share: flags, and errors as exit codes."""

import atexit
import contextlib
import functools
import logging as python_logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf
from absl import app, flags, logging

from input import errors as input_errors
from input import files, gcs
from trainer import actions, bindings, config, engine, errors, recipe

BAD_CONFIG = 2
BAD_DATA = 3
PREEMPTED = 75

_FAILURES = (
    errors.EngineError,
    errors.DivergedError,
    errors.OutputError,
    input_errors.ServiceError,
    gcs.StorageError,
)

_GIN_FILE = flags.DEFINE_multi_string(
    "gin_file",
    None,
    "Path of a gin file, relative to the current folder or to the repository. "
    "May be repeated; later files win.",
)
_GIN_PARAM = flags.DEFINE_multi_string(
    "gin_param",
    [],
    'One gin binding that wins over the files, such as "train.seed=1". May be '
    "repeated.",
)
MODEL_DIR = flags.DEFINE_string(
    "model_dir",
    None,
    "Directory of the run: checkpoints, metrics, report. Made if missing; a "
    "run that is there goes on from its newest checkpoint.",
)


def load_recipe(
    default: Sequence[str] = (), check_data: bool = True
) -> recipe.Recipe:
    """Returns the recipe that --gin_file and --gin_param describe.

    Args:
        default: Gin files to read where there is no --gin_file.
        check_data: Whether to look at every file of the data set.

    Raises:
        errors.ConfigError: There is no gin file, or it is wrong.
        input_errors.DataError: The data set cannot be read in full.
    """
    gin_files = _GIN_FILE.value or default
    if not gin_files:
        raise errors.ConfigError(
            "--gin_file is missing. Name a recipe, such as "
            "--gin_file=gin/digits.gin."
        )
    bindings.register()
    config.parse(gin_files, _GIN_PARAM.value)
    loaded = config.call("train")
    if check_data:
        loaded.check_data()
    return loaded


def make_engine() -> engine.Engine:
    """Returns the engine that the gin file names, started."""
    return config.call("make_engine")


@contextlib.contextmanager
def exit_on_signal(advice: str) -> Iterator[None]:
    """Ends the process with PREEMPTED at SIGTERM, SIGUSR1 or Ctrl-C.

    For as long as nothing has been trained that would have to be saved, above
    all while other processes are waited for. Not the default actions: the
    kernel keeps those from the first process of a container.
    """

    def leave(number: int, frame: object) -> None:
        logging.warning("%s: stopped. %s", signal.Signals(number).name, advice)
        sys.exit(PREEMPTED)

    before = {
        number: signal.signal(number, leave) for number in actions.STOP_SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            # Training that was stopped ignores what comes after.
            if signal.getsignal(number) is leave:
                signal.signal(number, handler)


def require_model_dir() -> str:
    """Returns --model_dir, or raises errors.ConfigError."""
    if not MODEL_DIR.value:
        raise errors.ConfigError(
            "--model_dir is missing. Name a directory for the run, such as "
            "--model_dir=runs/first."
        )
    return MODEL_DIR.value


def check_writable(model_dir: str) -> None:
    """Makes the directory of a run, if missing.

    Raises:
        errors.ConfigError: Nothing can be written there.
    """
    try:
        files.probe(model_dir)
    except (tf.errors.OpError, OSError) as error:
        raise errors.ConfigError(
            f"--model_dir={model_dir} cannot be written to: "
            f"{errors.reason(error)}. Name a folder of yours."
        ) from error


def run(
    main: Callable[..., int | None],
    arguments: Sequence[str] | None = None,
    own: flags.FlagValues | None = None,
    takes_arguments: bool = False,
) -> None:
    """Parses flags, calls `main` and exits with its code.

    A mistake of the user's ends with one message and its code; anything else
    with a traceback and 1.

    Args:
        main: What the binary does.
        arguments: Those of the process unless given, its name first.
        own: Flags of this binary alone, whose names others may have as well;
            they are at their defaults again with each run.
        takes_arguments: Whether `main` is called with what is not a flag;
            otherwise that is a mistake.
    """

    def guarded(arguments: Sequence[str]) -> int:
        if len(arguments) > 1 and not takes_arguments:
            return _fail(
                f"{arguments[1]!r} is not a flag. All settings are flags: see "
                "--help.",
                BAD_CONFIG,
            )
        try:
            return main(*arguments[1:]) or 0
        except (errors.ConfigError, input_errors.UsageError) as error:
            return _fail(error, BAD_CONFIG)
        except input_errors.DataError as error:
            return _fail(error, BAD_DATA)
        except _FAILURES as error:
            return _fail(error, 1)

    logging.set_verbosity(logging.INFO)
    # Their notices would drown ours.
    for name in ("matplotlib", "tensorflow"):
        python_logging.getLogger(name).setLevel(python_logging.WARNING)
    argv = None if arguments is None else list(arguments)
    own = own or flags.FlagValues()
    if own.is_parsed():
        own.unparse_flags()
    # Of another binary that this process has imported.
    others = {name: flags.FLAGS[name] for name in own if name in flags.FLAGS}
    for name in others:
        delattr(flags.FLAGS, name)
    flags.FLAGS.append_flag_values(own)
    try:
        app.run(
            guarded,
            argv=argv,
            flags_parser=functools.partial(_parse_flags, own),
        )
    except SystemExit as end:
        if argv is None:
            _leave(end)
        raise
    finally:
        flags.FLAGS.remove_flag_values(own)
        for name, flag in others.items():
            flags.FLAGS[name] = flag


def _leave(end: SystemExit) -> None:
    """Ends the process without taking TensorFlow apart.

    That would wait for threads of tf.data, and a worker of several for the
    others, until they count as crashed.
    """
    if not isinstance(end.code, int | None):
        return
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(end.code or 0)


def _parse_flags(own: flags.FlagValues, arguments: Sequence[str]) -> list[str]:
    """Ends with code 0 after --help and 2, not absl's 1, on a wrong flag."""
    shared = (_GIN_FILE.name, _GIN_PARAM.name, MODEL_DIR.name)
    for name in (*shared, *own):
        flags.FLAGS.register_key_flag_for_module(
            arguments[0], flags.FLAGS[name]
        )
    own.mark_as_parsed()
    if {"--help", "-h", "--helpshort", "-help"} & set(arguments):
        app.usage(shorthelp=True, writeto_stdout=True, exitcode=0)
    try:
        return flags.FLAGS(arguments)
    except flags.Error as error:
        sys.exit(_fail(error, BAD_CONFIG))


def _fail(error: object, code: int) -> int:
    # gin adds where it was when the error passed; one message is enough.
    text = str(error).split("\n  In call to configurable")[0]
    print(f"error: {text}", file=sys.stderr)
    return code
