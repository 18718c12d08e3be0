r"""Exports a trained network, and makes sure that it says the same.

    python -m trainer.export --gin_file=F --model_dir=D --output=E

Writes the best checkpoint of a run, else its newest, with averaged weights
where the run has them: a SavedModel for TensorFlow Serving, LiteRT files for
phones and small devices, and more by --formats. Each is loaded in a new process
and compared with the checkpoint on examples of train.eval_data. Where one
differs more than it may, nothing is written. What was found is in
OUTPUT/export.json and in the report of the run. Exit codes: 0 done; 2 bad flag
or config, or nothing to export; 3 bad data; 1 an artefact differs, or anything
else. (docs/export.md)
"""

import contextlib
import dataclasses
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from absl import flags, logging

from trainer import (
    cli,
    errors,
    export_formats,
    export_output,
    inference,
    parity,
    report,
    rundir,
    sample,
)
from trainer import recipe as recipe_lib

# Of this binary alone: others have some of the names as well.
FLAGS = flags.FlagValues()
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Folder for what is exported, made if missing; may be on gs://. Other "
    "versions of a SavedModel there stay.",
    flag_values=FLAGS,
)
_FORMATS = flags.DEFINE_list(
    "formats",
    ["saved_model", "tflite_float32", "tflite_int8"],
    f"What to write, with commas between: {', '.join(export_formats.FORMATS)}.",
    flag_values=FLAGS,
)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "A checkpoint, such as D/checkpoints/step-000001200. Default: the one in "
    "D/best, else the newest.",
    flag_values=FLAGS,
)
_NAME = flags.DEFINE_string(
    "name",
    None,
    "Name of the model, as clients will call it: letters, digits, _ and -. "
    "Default: that of the folder --model_dir.",
    flag_values=FLAGS,
)
_CALIBRATE = flags.DEFINE_bool(
    "calibrate",
    False,
    "Divide the logits by the temperature that the evaluation of this "
    "checkpoint has fitted.",
    flag_values=FLAGS,
)
_EXAMPLES = flags.DEFINE_integer(
    "examples",
    256,
    "Examples of the split that artefacts are compared on.",
    lower_bound=1,
    flag_values=FLAGS,
)
_CALIBRATION = flags.DEFINE_integer(
    "calibration_examples",
    128,
    "Training examples from which the scales of tflite_int8 are taken.",
    lower_bound=1,
    flag_values=FLAGS,
)


def _limit_flag(
    flag: str, field: str, value: str, meaning: str
) -> flags.FlagHolder:
    """Defines a flag that sets one of the limits of a format."""
    defaults = ", ".join(
        f"{name} {getattr(found.limits, field):g}"
        for name, found in export_formats.FORMATS.items()
    )
    return flags.DEFINE_multi_string(
        flag,
        [],
        f"FORMAT={value}: {meaning}, in [0, 1]. May be repeated. Defaults: "
        f"{defaults}.",
        flag_values=FLAGS,
    )


_LIMITS = {
    "difference": _limit_flag(
        "tolerance",
        "difference",
        "DIFFERENCE",
        "the largest difference of a probability that is allowed",
    ),
    "mean_difference": _limit_flag(
        "mean_tolerance",
        "mean_difference",
        "DIFFERENCE",
        "the same, of the mean over examples of the largest of each",
    ),
    "agreement": _limit_flag(
        "agreement",
        "agreement",
        "SHARE",
        "the least share of examples with the checkpoint's answer",
    ),
    "lost_accuracy": _limit_flag(
        "lost_accuracy",
        "lost_accuracy",
        "SHARE",
        "how much lower the accuracy may be",
    ),
}


def main() -> int:
    """Exports; returns the exit code."""
    formats = export_formats.choose(_FORMATS.value)
    limits = _limits(formats)
    output, model_dir = _output(), cli.require_model_dir()
    name = _name(model_dir)
    with cli.exit_on_signal("Nothing has been exported: run it again."):
        recipe = cli.load_recipe([rundir.config_of(model_dir)])
        classifier = inference.load(
            recipe, model_dir, _CHECKPOINT.value, _CALIBRATE.value
        )
        with export_output.staged(output) as staging:
            job = export_formats.Job(
                classifier,
                name,
                staging.next_version(name),
                _calibration(formats, recipe, classifier),
            )
            rows = _export(formats, limits, job, staging)
    print(parity.table(rows))
    _report(model_dir, staging.summary)
    print(f"exported step {classifier.info.step} to {output}")
    return 0


def _export(
    formats: Mapping[str, export_formats.Format],
    limits: Mapping[str, export_formats.Limits],
    job: export_formats.Job,
    staging: export_output.Staging,
) -> list[parity.Row]:
    """Writes all artefacts, compares them and hands them over."""
    places = {n: f.place(job.name, job.version) for n, f in formats.items()}
    written = {n: staging.path(place) for n, place in places.items()}
    for format_name, chosen in formats.items():
        logging.info("Writing %s.", format_name)
        os.makedirs(os.path.dirname(written[format_name]), exist_ok=True)
        with _quiet():
            chosen.write(job, written[format_name])
    classifier = job.classifier
    held_to = sample.draw(
        classifier.data, classifier.data.decode, _EXAMPLES.value
    )
    rows = parity.check(classifier, held_to, written, limits, staging.scratch)
    staging.commit(
        list(places.values()),
        {
            "format": 1,
            "name": job.name,
            "version": job.version,
            "step": classifier.info.step,
            "split": classifier.data.split,
            "artefacts": places,
            "parity": [row.to_json() for row in rows],
        },
    )
    return rows


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the notices of converters, which advise their authors, away."""
    level = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)


def _output() -> str:
    if not _OUTPUT.value:
        raise errors.ConfigError(
            "--output is missing. Name a folder for what is exported, such as "
            "--output=exports/digits."
        )
    return _OUTPUT.value.rstrip("/")


def _name(model_dir: str) -> str:
    name = _NAME.value
    if name is None:
        name = os.path.basename(os.path.abspath(model_dir.rstrip("/")))
        name = re.sub(r"[^\w-]+", "_", name, flags=re.ASCII).strip("_")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise errors.ConfigError(
            f"--name={name!r} must be letters, digits, _ and -: it is part of "
            "the addresses that a server answers. Name the model, such as "
            "--name=digits."
        )
    return name


def _limits(
    formats: Mapping[str, export_formats.Format],
) -> dict[str, export_formats.Limits]:
    """Returns the limits of the formats, with those of the flags."""
    found = {name: chosen.limits for name, chosen in formats.items()}
    for field, flag in _LIMITS.items():
        for name, share in _shares(flag.name, flag.value, found).items():
            found[name] = dataclasses.replace(found[name], **{field: share})
    return found


def _shares(
    flag: str, values: Sequence[str], known: Mapping[str, object]
) -> dict[str, float]:
    shares = {}
    for value in values:
        name, _, text = value.partition("=")
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if name not in known or not 0 <= share <= 1:
            raise errors.ConfigError(
                f"--{flag}={value} must be FORMAT=NUMBER with a number in "
                f"[0, 1] and a format that is written: {', '.join(known)}."
            )
        shares[name] = share
    return shares


def _calibration(
    formats: Mapping[str, export_formats.Format],
    recipe: recipe_lib.Recipe,
    classifier: inference.Classifier,
) -> np.ndarray:
    """Returns training pictures as the network will see pictures."""
    count = _CALIBRATION.value
    if not any(chosen.calibrated for chosen in formats.values()):
        return np.zeros([0, *classifier.info.image_shape], np.uint8)
    return sample.draw(recipe.train_data, classifier.data.decode, count).images


def _report(model_dir: str, summary: bytes) -> None:
    """Shows the export in the report of its run, where that can be written."""
    try:
        export_output.note(model_dir, summary)
        report.write_report(model_dir)
    except errors.OutputError as error:
        logging.warning("The report of the run does not show it: %s", error)


def run(arguments: Sequence[str] | None = None) -> None:
    """Runs as a command: see `cli.run`."""
    cli.run(main, arguments, FLAGS)


if __name__ == "__main__":
    run()
