"""The contenders of benchmarks.features: two trainings of one head."""

import json
import pathlib
import time

import numpy as np

from benchmarks import commands, fashion_mnist, tables

CONTENDERS = {"features kept": "True", "whole network": "False"}


def write(
    folder: pathlib.Path, source: str, each: int, test_pictures: int
) -> None:
    """Writes a small data set to `folder`/data.

    Args:
        folder: That is there.
        source: Folder of idx files of the MNIST family.
        each: Training pictures of each class.
        test_pictures: The first of the test split, which are kept.
    """
    pictures = fashion_mnist.read(source)
    pictures.images["test"] = pictures.images["test"][:test_pictures]
    pictures.labels["test"] = pictures.labels["test"][:test_pictures]
    sizes = np.minimum(pictures.sizes, each)
    fashion_mnist.write(pictures, sizes.tolist(), folder / "idx")
    commands.run(
        "input.convert",
        "--source=idx",
        f"--input={folder / 'idx'}",
        f"--output={folder / 'data'}",
    )


def bindings(
    folder: pathlib.Path, name: str, epochs: int, size: int
) -> list[str]:
    """Returns what differs from gin/features.gin."""
    return [
        f'DATA_DIR="{folder / "data"}"',
        f"SIZE={size}",
        f'train.duration="{epochs} epochs"',
        'train.evaluate_every="1 epoch"',
        f'train.checkpoint_every="{epochs} epochs"',
        'eval_data.split="test"',
        "train.test_data=None",
        f"train.cache_features={CONTENDERS[name]}",
    ]


def train(
    folder: pathlib.Path, name: str, epochs: int, size: int
) -> list[tuple[float, float]]:
    """Trains a contender.

    Returns:
        Seconds since the command, and top-1 accuracy, of each evaluation.
    """
    model_dir = folder / name.replace(" ", "_")
    began = time.time()
    commands.run(
        "trainer.main",
        "--gin_file=gin/features.gin",
        f"--model_dir={model_dir}",
        *(f"--gin_param={b}" for b in bindings(folder, name, epochs, size)),
    )
    lines = (model_dir / "metrics.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    return [
        (event["time"] - began, event["top_1_accuracy"])
        for event in events
        if event["kind"] == "eval"
    ]


def report(found: dict[str, list[tuple[float, float]]]) -> str:
    """Returns the table.

    Args:
        found: By contender, what `train` returned.
    """
    reached = min(max(a for _, a in curve) for curve in found.values())
    rows = []
    for name, curve in found.items():
        to_there = next(s for s, a in curve if a >= reached)
        apart = (curve[-1][0] - curve[0][0]) / max(len(curve) - 1, 1)
        rows.append(
            [
                name,
                f"{to_there:.1f}",
                f"{apart:.2f}",
                f"{curve[-1][0]:.1f}",
                f"{100 * curve[-1][1]:.1f} %",
            ]
        )
    header = [
        "contender",
        f"s to {100 * reached:.1f} %, from the command",
        "s an epoch, evaluation included",
        "s to the end",
        "top-1 at the end",
    ]
    return tables.markdown(header, rows)
