"""Trains on 60 pictures of each class, with ImageNet's help and without.

    apt-get install dataset-fashion-mnist
    python -m benchmarks.transfer

Keeps 600 training pictures of Fashion-MNIST and the whole test split of 10,000.
Trains EfficientNet-Lite0 on them in three ways, for the same number of epochs:
a new head on frozen features of ImageNet, fine-tuned in two phases, and from
random weights; and, from random weights as well, the small network of
gin/fashion_mnist.gin on pictures as they are, for as many epochs as do it good.
Prints Markdown: the accuracy of each, with the interval in which it lies as far
as 10,000 pictures can tell, and the seconds of the command. About half an hour.
"""

import pathlib
import statistics
import tempfile
import time
from collections.abc import Sequence

import tqdm
from absl import app, flags

from benchmarks import commands, fashion_mnist, tables, transfer_ways
from trainer import results

_DATA = flags.DEFINE_string(
    "data", fashion_mnist.FOLDER, "Folder of the idx files."
)
_EACH = flags.DEFINE_integer(
    "each", 60, "Training pictures of each class.", lower_bound=1
)
_SIZE = flags.DEFINE_integer(
    "size",
    96,
    "Height and width for EfficientNet-Lite0, in pixels.",
    lower_bound=32,
)
_EPOCHS = flags.DEFINE_integer(
    "epochs", 20, "Of each training of EfficientNet-Lite0.", lower_bound=4
)
_SEEDS = flags.DEFINE_integer(
    "seeds", 3, "Runs of each way; medians are shown.", lower_bound=1
)
_WAYS = flags.DEFINE_list("ways", None, "Names from the table; default: all.")


def main(arguments: Sequence[str]) -> None:
    """Trains all and prints the table."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    chosen = _WAYS.value or list(transfer_ways.WAYS)
    unknown = [name for name in chosen if name not in transfer_ways.WAYS]
    if unknown:
        known = ", ".join(transfer_ways.WAYS)
        raise app.UsageError(f"--ways: {unknown[0]!r} is none of {known}.")
    conditions = tables.conditions()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        pictures = fashion_mnist.read(_DATA.value)
        sizes = [_EACH.value] * len(pictures.sizes)
        fashion_mnist.write(pictures, sizes, folder / "idx")
        commands.run(
            "input.convert",
            "--source=idx",
            f"--input={folder / 'idx'}",
            f"--output={folder / 'data'}",
        )
        with tqdm.tqdm(total=len(chosen) * _SEEDS.value, unit="run") as bar:
            rows = [_row(name, folder, bar) for name in chosen]
    print(conditions)
    print(
        f"- {sum(sizes)} training pictures; EfficientNet-Lite0 at "
        f"{_SIZE.value} px, {_EPOCHS.value} epochs\n"
    )
    columns = ["way", "top-1", "95 % of the median", "min..max of seeds"]
    print(tables.markdown([*columns, "seconds"], rows))


def _row(name: str, folder: pathlib.Path, bar: tqdm.tqdm) -> list[str]:
    """Trains in a way; returns its line of the table."""
    found, seconds = [], []
    for seed in range(_SEEDS.value):
        began = time.monotonic()
        found.append(_result(transfer_ways.WAYS[name], folder, seed))
        seconds.append(time.monotonic() - began)
        bar.update()
    found.sort(key=lambda result: result.correct)
    shares = [result.correct / result.examples for result in found]
    middle = found[(len(found) - 1) // 2]
    low, high = middle.intervals["top_1_accuracy"]
    return [
        name,
        f"{middle.correct / middle.examples:.2%}",
        f"{low:.2%}..{high:.2%}",
        f"{min(shares):.2%}..{max(shares):.2%}",
        f"{statistics.median(seconds):.0f}",
    ]


def _result(
    way: transfer_ways.Way, folder: pathlib.Path, seed: int
) -> results.EvaluationResult:
    """Trains once; returns what the test split says of it."""
    complete = transfer_ways.bindings(
        way,
        str(folder / "data"),
        seed=seed,
        epochs=_EPOCHS.value,
        size=_SIZE.value,
    )
    with tempfile.TemporaryDirectory(dir=folder) as run:
        commands.run(
            "trainer.main",
            f"--gin_file={way.recipe}",
            f"--model_dir={run}",
            *(f"--gin_param={binding}" for binding in complete),
        )
        (path,) = pathlib.Path(run).rglob("test.npz")
        return results.EvaluationResult.load(str(path))


if __name__ == "__main__":
    app.run(main)
