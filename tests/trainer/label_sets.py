"""A small data set of label sets and slices, and a loss for it.

    python -m tests.trainer.label_sets ENGINE DATA OUTPUT

evaluates untrained weights on an engine; each process writes what it finds.
"""

import json
import os
import pathlib
import sys

import numpy as np
import tensorflow as tf

from input import conversion, convert_request, eval_pipeline, pipeline, sources
from tests.conftest import make_recipe
from trainer import bindings, engines, losses, recipe, session

CLASSES = ("cat", "dog", "fox")

# Independent classes: the sum of their binary cross entropies.
SIGMOID = losses.Loss(
    lambda labels, logits: tf.reduce_sum(
        tf.nn.sigmoid_cross_entropy_with_logits(labels, logits), axis=1
    ),
    tf.nn.sigmoid,
)


def write_pictures(folder: pathlib.Path, examples: int = 60) -> pathlib.Path:
    """Pictures of 6x6 whose colour channels say which classes they have.

    Returns:
        The manifest: path, label, split, Camera, site.
    """
    rng = np.random.default_rng(0)
    lines = ["path,label,split,Camera,site"]
    folder.mkdir()
    for number in range(examples):
        has = [bool(number >> bit & 1) for bit in range(3)]
        pixels = rng.integers(0, 60, (6, 6, 3)) + 150 * np.array(has)
        name = f"{number}.png"
        encoded = tf.io.encode_png(pixels.astype(np.uint8)).numpy()
        (folder / name).write_bytes(encoded)
        label = "|".join(c for c, h in zip(CLASSES, has, strict=True) if h)
        split = "validation" if number % 3 == 2 else "train"
        camera = "indoor" if number % 4 else "outdoor"
        lines.append(f"{name},{label},{split},{camera},site {number % 2}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder / "list.csv"


def convert(
    manifest: pathlib.Path, output: pathlib.Path, **settings
) -> conversion.Conversion:
    """Converts the manifest with its slice columns."""
    chosen = {"multi_label": True, "slice_columns": ("camera", "site")}
    return conversion.convert(
        convert_request.Request(
            source="csv",
            input=str(manifest),
            output=str(output),
            shards=3,
            **(chosen | settings),
        )
    )


def make_label_set_recipe(
    data_dir: pathlib.Path, *bindings: str, **changes
) -> recipe.Recipe:
    """The recipe of tests/tiny.gin for such a data set."""
    source = sources.TFRecords(str(data_dir))
    small = make_recipe('train.best_metric = "auto"', *bindings)
    return recipe.Recipe(
        **{
            "model": small.model,
            "optimizer": small.optimizer,
            "train_data": pipeline.TrainData(source=source),
            "eval_data": eval_pipeline.EvalData(source=source),
            "global_batch_size": 8,
            "duration": "40 steps",
            "loss": SIGMOID,
            "steps_per_loop": 10,
        }
        | changes
    )


def main(engine_name: str, data_dir: str, output: str) -> None:
    bindings.register()
    on = engines.make_engine(engine_name, startup_timeout=60.0)
    chosen = make_label_set_recipe(pathlib.Path(data_dir))
    result = session.build(chosen, on).evaluator(chosen.eval_data)(0, iter)
    found = {k: v for k, v in result.metrics.items() if k != "seconds"}
    found["matrix"] = result.confusion_matrix.tolist()
    found["worst"] = [m.name for m in result.mistakes]
    path = pathlib.Path(f"{output}-{on.host.index}.json")
    path.write_text(json.dumps(found))
    on.leave_together()
    # And one that takes TensorFlow apart waits for the other.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
