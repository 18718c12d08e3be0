r"""Draws what the network will see: pictures after crop and augmentation.

    python -m input.preview --gin_file=gin/digits.gin --output=preview.html

One row for each example of the training split: its class, the picture as it is
stored, and the same picture augmented several times. The crops and colours are
drawn as in training, from train.seed. Exit codes: 0 done; 2 bad flag or config;
3 bad data; 1 anything else.
"""

import os

import tensorflow as tf
from absl import flags

from input import command, contact_sheet, diagnosis, errors
from input.progress import progress

# The only file of `input` that knows the trainer: recipes are read there
# (docs/architecture.md).
from trainer import cli

# Its own: other binaries have flags of the same names.
FLAGS = flags.FlagValues()
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "File to write, ending in .html or .png. Default: preview.html in "
    "--model_dir, or in the current folder.",
    flag_values=FLAGS,
)
_EXAMPLES = flags.DEFINE_integer(
    "examples",
    contact_sheet.EXAMPLES,
    "Rows: how many examples to show.",
    lower_bound=1,
    upper_bound=100,
    flag_values=FLAGS,
)
_VARIANTS = flags.DEFINE_integer(
    "variants",
    contact_sheet.VARIANTS,
    "Columns: how often each is augmented.",
    lower_bound=1,
    upper_bound=100,
    flag_values=FLAGS,
)
_STEP = flags.DEFINE_integer(
    "step",
    0,
    "Show images of the size that they have after so many steps: with "
    "train.progressive_resizing early ones are smaller.",
    lower_bound=0,
    flag_values=FLAGS,
)


def main() -> int:
    """Writes the sheet; returns the exit code."""
    output = _OUTPUT.value or os.path.join(
        cli.MODEL_DIR.value or "", "preview.html"
    )
    if not output.endswith((".html", ".png")):
        raise errors.UsageError(
            f"--output={output} must end in .html or .png: a page or a picture."
        )
    recipe = cli.load_recipe()
    data = recipe.train_data
    rows = min(_EXAMPLES.value, data.examples)
    try:
        with (
            diagnosis.explained(data),
            progress(rows * _VARIANTS.value, "pictures") as done,
        ):
            examples = contact_sheet.make(
                data,
                recipe.augments_at(_STEP.value),
                recipe.seed,
                mixing=recipe.mixing,
                examples=rows,
                variants=_VARIANTS.value,
                done=done,
            )
    except tf.errors.OpError as error:
        raise errors.DataError(
            f"Split {data.split!r} cannot be read: {error.message}\n"
            "input.doctor says which records are damaged."
        ) from error
    sheet = contact_sheet.png(examples)
    content = sheet
    if output.endswith(".html"):
        title = f"Split {data.split!r} of {data.examples:,} examples"
        content = contact_sheet.page(examples, title, sheet).encode()
    command.write_output("output", output, content)
    print(f"{rows} examples, each seen {_VARIANTS.value} times: {output}")
    return 0


if __name__ == "__main__":
    cli.run(main, own=FLAGS)
