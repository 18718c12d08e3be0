r"""Classifies pictures with a trained network.

    python -m trainer.predict --model=RUN_OR_EXPORT --output=FILE INPUT...

RUN_OR_EXPORT is the model_dir of a run, or what trainer.export has written: its
output folder, a SavedModel in it, or a .tflite, .keras or .onnx file. INPUT is
a file, a folder (with those below it), a glob, the same on gs://, or - for a
list of paths on standard input. OUTPUT gets a row for each picture, in order,
as CSV (.csv) or JSON lines (.jsonl): its most likely classes, or why it could
not be read. Exit codes: 0 done, also where pictures could not be read, whose
number is said; 2 bad flag, or no such picture; 1 anything else.
(docs/export.md)
"""

import os
from collections.abc import Sequence

from absl import flags, logging

from input import files, transcode
from trainer import (
    artefacts,
    cli,
    errors,
    inference,
    predict_inputs,
    predict_output,
    prediction,
    rundir,
)

# Of this binary alone: others have some of the names as well.
FLAGS = flags.FlagValues()
_MODEL = flags.DEFINE_string(
    "model",
    None,
    "The model_dir of a run, or an export of it.",
    flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "File to write: .csv, .jsonl; may be on gs://.",
    flag_values=FLAGS,
)
_FORMAT = flags.DEFINE_enum(
    "format",
    None,
    ["csv", "jsonl"],
    "Of --output. Default: as its name ends.",
    flag_values=FLAGS,
)
_TOP = flags.DEFINE_integer(
    "top",
    5,
    "Classes of a row, the most likely first; all where there are fewer.",
    lower_bound=1,
    flag_values=FLAGS,
)
_ALL = flags.DEFINE_bool(
    "all_probabilities",
    False,
    "Write the probabilities of all classes, too.",
    flag_values=FLAGS,
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    64,
    "Pictures that the network takes at once.",
    lower_bound=1,
    flag_values=FLAGS,
)
_MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels",
    transcode.MAX_PIXELS,
    "Width times height of a picture that is decoded; a larger one is a row "
    "with an error.",
    lower_bound=1,
    upper_bound=transcode.MAX_PIXELS,
    flag_values=FLAGS,
)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "Of a run: a checkpoint, such as D/checkpoints/step-000001200. Default: "
    "the one in D/best, else the newest.",
    flag_values=FLAGS,
)
_CALIBRATE = flags.DEFINE_bool(
    "calibrate",
    False,
    "Of a run: divide the logits by the temperature that the evaluation of "
    "this checkpoint has fitted.",
    flag_values=FLAGS,
)


def main(*inputs: str) -> int:
    """Predicts; returns the exit code."""
    with cli.exit_on_signal("Nothing has been written: run it again."):
        output, path = _required()
        kind = predict_output.format_of(output, _FORMAT.value)
        pictures = predict_inputs.paths(inputs)
        model = load(path)
        names = model.info.class_names
        with predict_output.rows(
            output, kind, names, min(_TOP.value, len(names)), _ALL.value
        ) as rows:
            bad = prediction.predict(
                model, pictures, rows, _BATCH_SIZE.value, _MAX_PIXELS.value
            )
    text = f"{len(pictures) - bad:,} of {len(pictures):,} pictures: {output}"
    print(f"{text}; {bad:,} could not be read" if bad else text)
    return 0


def load(path: str) -> prediction.Model:
    """Returns the model of a run, or an exported one.

    Raises:
        errors.ConfigError: There is neither.
    """
    if files.exists(os.path.join(path, rundir.CONFIG)):
        recipe = cli.load_recipe([rundir.config_of(path)], check_data=False)
        classifier = inference.load(
            recipe, path, _CHECKPOINT.value, _CALIBRATE.value
        )
        return prediction.Model(
            classifier.info, classifier.data.decode, classifier.infer
        )
    found = artefacts.find(path)
    if found is None:
        raise errors.ConfigError(
            f"--model={path} is neither the model_dir of a run nor an export. "
            "Name a folder with operative_config.gin, or what trainer.export "
            "has written."
        )
    for flag in (_CHECKPOINT, _CALIBRATE):
        if flag.value:
            raise errors.ConfigError(
                f"--{flag.name} is for a run, and {found} is an export: it "
                "has its weights inside. Leave the flag out."
            )
    artefact = artefacts.load(found)
    logging.info("Model: %s, of step %d.", found, artefact.info.step)
    return prediction.Model(
        artefact.info, artefact.info.decoder(), artefact.probabilities
    )


def _required() -> tuple[str, str]:
    """Returns --output and --model."""
    if cli.MODEL_DIR.value:
        raise errors.ConfigError(
            f"--model_dir={cli.MODEL_DIR.value}: name the run with --model."
        )
    if not _MODEL.value:
        raise errors.ConfigError(
            "--model is missing. Name the model_dir of a run or an export, "
            "such as --model=runs/digits."
        )
    if not _OUTPUT.value:
        raise errors.ConfigError(
            "--output is missing. Name a file for the predictions, such as "
            "--output=predictions.csv."
        )
    return _OUTPUT.value, _MODEL.value.rstrip("/")


def run(arguments: Sequence[str] | None = None) -> None:
    """Runs as a command: see `cli.run`."""
    cli.run(main, arguments, FLAGS, takes_arguments=True)


if __name__ == "__main__":
    run()
