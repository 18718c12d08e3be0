"""Trains on classes of very different size, once with each remedy.

    apt-get install dataset-fashion-mnist
    python -m benchmarks.imbalance

Takes Fashion-MNIST and leaves away training pictures, so that the first class
has a hundred times those of the last and the others lie evenly between on a
logarithmic scale. Trains gin/fashion_mnist.gin on it for the same number of
steps with each remedy of docs/imbalance.md, and evaluates on the test split,
which is whole: 1,000 pictures of each class. Prints Markdown; about 30 minutes.
"""

import pathlib
import statistics
import tempfile
from collections.abc import Sequence

import numpy as np
import tqdm
from absl import app, flags

from benchmarks import commands, fashion_mnist, tables
from trainer import results

_DATA = flags.DEFINE_string(
    "data", fashion_mnist.FOLDER, "Folder of the idx files."
)
_RATIO = flags.DEFINE_float(
    "ratio",
    100.0,
    "How many times as large the first class is as the last.",
    lower_bound=1.0,
)
_STEPS = flags.DEFINE_integer("steps", 1000, "Of each run.", lower_bound=1)
_SEEDS = flags.DEFINE_integer(
    "seeds", 3, "Runs of each remedy; medians are shown.", lower_bound=1
)
_REMEDIES = flags.DEFINE_list(
    "remedies", None, "Names from the table; all by default."
)

_RAREST = 3
_WEIGHTS = "train.class_weights = @{}_weights()"
_RESAMPLE = "train_data.resample = @{}()"
REMEDIES = {
    "none": [],
    "balanced weights": [_WEIGHTS.format("balanced")],
    "effective number weights": [_WEIGHTS.format("effective_number")],
    "oversampling": [_RESAMPLE.format("oversample")],
    "oversampling, power 0.5": [
        _RESAMPLE.format("oversample"),
        "oversample.power = 0.5",
    ],
    "undersampling": [_RESAMPLE.format("undersample")],
    "focal loss": ["train.loss = @focal_loss()"],
}


def main(arguments: Sequence[str]) -> None:
    """Trains all and prints the table."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    chosen = _REMEDIES.value or list(REMEDIES)
    unknown = [name for name in chosen if name not in REMEDIES]
    if unknown:
        raise app.UsageError(
            f"--remedies: {unknown[0]!r} is none of {', '.join(REMEDIES)}."
        )
    conditions = tables.conditions()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        pictures = fashion_mnist.read(_DATA.value)
        sizes = skewed(pictures.sizes, _RATIO.value)
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
    print(f"- training pictures by class: {', '.join(map(str, sizes))}\n")
    print(
        tables.markdown(
            [
                "remedy",
                "mean recall of the classes",
                "min..max of seeds",
                f"recall of the {_RAREST} rarest",
                f"of the {_RAREST} largest",
            ],
            rows,
        )
    )


def skewed(sizes: np.ndarray, ratio: float) -> list[int]:
    """Returns what to keep of classes: the first whole, the last least."""
    share = ratio ** -np.linspace(0, 1, len(sizes))
    return np.maximum(1, np.round(sizes * share)).astype(int).tolist()


def _row(name: str, folder: pathlib.Path, bar: tqdm.tqdm) -> list[str]:
    """Trains with a remedy; returns its line of the table."""
    recalls = []
    for seed in range(_SEEDS.value):
        recalls.append(_recall(REMEDIES[name], folder, seed))
        bar.update()
    means = [recall.mean() for recall in recalls]
    rarest = [recall[-_RAREST:].mean() for recall in recalls]
    largest = [recall[:_RAREST].mean() for recall in recalls]
    return [
        name,
        f"{statistics.median(means):.2%}",
        f"{min(means):.2%}..{max(means):.2%}",
        f"{statistics.median(rarest):.2%}",
        f"{statistics.median(largest):.2%}",
    ]


def _recall(
    bindings: Sequence[str], folder: pathlib.Path, seed: int
) -> np.ndarray:
    """Trains once; returns the recall of each class of the test split."""
    with tempfile.TemporaryDirectory(dir=folder) as run:
        commands.run(
            "trainer.main",
            "--gin_file=gin/fashion_mnist.gin",
            f"--model_dir={run}",
            *(
                f"--gin_param={binding}"
                for binding in (
                    f'DATA_DIR = "{folder / "data"}"',
                    f'train.duration = "{_STEPS.value} steps"',
                    f'cosine_schedule.warmup = "{_STEPS.value // 20} steps"',
                    f"train.seed = {seed}",
                    *bindings,
                )
            ),
        )
        (path,) = pathlib.Path(run).rglob("test.npz")
        counts = results.EvaluationResult.load(str(path)).confusion_matrix
    return counts.diagonal() / counts.sum(axis=1)


if __name__ == "__main__":
    app.run(main)
