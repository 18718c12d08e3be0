"""The features of a split: computed by all replicas together, or read."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from input import cache, files, spec
from input import errors as input_errors
from input import features as features_lib
from models import frozen
from trainer import agreement, engine, errors, progress, recipe, step

_CHUNK_BYTES = 2**26


def table(
    chosen: recipe.Recipe,
    on: engine.Engine,
    base: keras.Model,
    preprocess: step.Preprocess,
    data: cache.Cached,
    beat: Callable[[], None],
) -> features_lib.Table:
    """Returns the features of a split, from `features_dir` or the network.

    To be called by all processes alike.

    Args:
        chosen: The recipe.
        on: All replicas share the work.
        base: The frozen backbone.
        preprocess: Makes what it sees.
        data: The split.
        beat: Called at each batch: the process has not hung.

    Raises:
        input.errors.DataError: The split has other examples than it says.
    """
    layout = features_lib.Layout(tuple(base.output_shape[1:]))
    path = ""
    if chosen.features_dir is not None:
        key = _key(base, preprocess, data)
        path = os.path.join(chosen.features_dir, f"{key}.npz")
    found = _load(path, layout, data.examples) if path else None
    # All or none: who computes needs the others.
    all_have_it = b"" not in on.exchange(b"" if found is None else b"found")
    if found is not None and all_have_it:
        logging.info("Split %r: features are taken from %s.", data.split, path)
        return found
    table = _computed(on, base, preprocess, data, layout, chosen, beat)
    if path:
        agreement.on_chief(on, lambda: _save(path, table))
    return table


def _computed(
    on: engine.Engine,
    base: keras.Model,
    preprocess: step.Preprocess,
    data: cache.Cached,
    layout: features_lib.Layout,
    chosen: recipe.Recipe,
    beat: Callable[[], None],
) -> features_lib.Table:
    def of_rows(rows: spec.Batch) -> dict[str, tf.Tensor]:
        made = base(preprocess(rows[spec.IMAGE]), training=False)
        return {"features": tf.cast(made, tf.float32)} | {
            name: rows[name] for name in (spec.LABEL, spec.INDEX)
        }

    run = tf.function(lambda batch: on.run(of_rows, batch), autograph=False)
    pictures = features_lib.pictures_of(data)
    size = chosen.global_batch_size
    batches = on.distribute(
        lambda host: pictures.dataset(host, global_batch_size=size)
    )
    rows = features_lib.empty(layout, data.examples)
    labels: np.ndarray | None = None
    seen = np.zeros([data.examples], np.int64)
    bar = progress.EvaluationBar(
        data.split, pictures.steps(size), doing="features of"
    )
    for batch in bar(iter(batches)):
        for part in _per_replica(on, run(batch)):
            places = part[spec.INDEX]
            real = places >= 0
            if labels is None:
                shape = part[spec.LABEL].shape[1:]
                labels = np.zeros([data.examples + 1, *shape], np.int64)
            layout.fill(rows, places[real], part["features"][real])
            labels[places[real]] = part[spec.LABEL][real]
            seen[places[real]] += 1
        beat()
    if labels is None or (on.sum_over_hosts(seen) != 1).any():
        raise input_errors.DataError(
            f"Split {data.split!r} did not give each example once: a shard has "
            "changed since the conversion. Convert it again."
        )
    share(on, rows)
    labels = on.sum_over_hosts(labels)
    dtype = np.float32 if labels.ndim > 1 else np.int32
    logging.info(
        "Split %r: the features of %s pictures, %s each, are computed once "
        "(%.1f MiB).",
        data.split,
        f"{data.examples:,}",
        " x ".join(map(str, layout.shape)),
        rows.nbytes / 2**20,
    )
    return features_lib.Table(layout, rows, labels.astype(dtype))


def _per_replica(
    on: engine.Engine, found: dict[str, Any]
) -> Iterator[dict[str, np.ndarray]]:
    values = {name: on.local_results(value) for name, value in found.items()}
    for i in range(len(values[spec.INDEX])):
        yield {name: np.asarray(value[i]) for name, value in values.items()}


def share(on: engine.Engine, rows: np.ndarray) -> None:
    """Gives each host the rows of the others, which are 0 in its own."""
    if on.host.count == 1:
        return
    numbers = rows.reshape([-1]).view(np.int64)
    step_ = _CHUNK_BYTES // numbers.itemsize
    for first in range(0, len(numbers), step_):
        part = numbers[first : first + step_]
        part[:] = on.sum_over_hosts(np.array(part))


def _key(
    base: keras.Model, preprocess: step.Preprocess, data: cache.Cached
) -> str:
    """Returns a name for what decides the features."""
    said = json.dumps(
        {
            "split": data.split,
            "data": data.source.info.fingerprint,
            "decode": repr(data.decode),
            "preprocess": repr(getattr(preprocess, "keywords", preprocess)),
            "layers": [repr(layer.get_config()) for layer in base.layers],
            "frozen": frozen.digests(base),
            "tensorflow": tf.__version__,
        }
    )
    digest = hashlib.sha256(said.encode())
    for variable in base.variables:
        digest.update(np.asarray(variable).tobytes())
    return digest.hexdigest()[:32]


def check_folder(folder: str) -> None:
    """Raises errors.ConfigError for a folder that nothing can be written to."""
    try:
        files.probe(folder)
    except (tf.errors.OpError, OSError) as error:
        raise errors.ConfigError(
            f"train.features_dir={folder!r} cannot be written to: "
            f"{errors.reason(error)}. Name a folder of yours, or leave it out."
        ) from error


def _save(path: str, table: features_lib.Table) -> None:
    content = io.BytesIO()
    np.savez(content, rows=table.rows, labels=table.labels)
    # Features may take half of the memory: no copy more than one.
    digest = hashlib.sha256(content.getbuffer()).digest()
    content.seek(0, io.SEEK_END)
    content.write(digest)
    with errors.writing(path):
        files.write_atomically(path, content.getvalue())


def _load(
    path: str, layout: features_lib.Layout, examples: int
) -> features_lib.Table | None:
    """Returns what `_save` has written; None where it is not there or whole."""
    try:
        content = files.read(path)
    except FileNotFoundError:
        return None
    except (tf.errors.OpError, OSError) as error:
        raise errors.ConfigError(
            f"train.features_dir: {path} cannot be read: "
            f"{errors.reason(error)}. Remove it, or name another folder."
        ) from error
    if hashlib.sha256(memoryview(content)[:-32]).digest() != content[-32:]:
        logging.warning("%s is damaged: features are computed again.", path)
        return None
    # What stands behind an archive does not matter to whoever reads it.
    with np.load(io.BytesIO(content)) as found:
        rows = features_lib.empty(layout, examples)
        rows[:] = found["rows"]
        return features_lib.Table(layout, rows, found["labels"])
