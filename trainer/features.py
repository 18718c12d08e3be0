"""What a frozen backbone makes of each picture, computed once and kept."""

import dataclasses
import functools
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from input import cache, files, memory, spec
from input import errors as input_errors
from input import features as features_lib
from models import frozen, split
from trainer import (
    agreement,
    engine,
    errors,
    evaluation,
    phases,
    progress,
    recipe,
    step,
)

Policy = Literal["auto"] | bool
_NAME = "train.cache_features"
_CHUNK_BYTES = 2**26


@dataclasses.dataclass(frozen=True)
class Features:
    """Splits of features, and the head that learns from them.

    Attributes:
        train: In place of the pictures of `train_data`.
        eval: In place of those of `eval_data`; None: it keeps its pictures.
        head: From features to logits, of the layers of the whole network.
        until: Steps of the run after which the backbone is no longer frozen.
    """

    train: features_lib.TrainFeatures
    eval: features_lib.EvalFeatures | None
    head: keras.Model
    until: int

    @property
    def preprocess(self) -> step.Preprocess:
        """From the bytes in a batch to what the head sees."""
        return self.train.table.layout.unpack


def frozen_until(spans: Sequence[phases.Span]) -> int:
    """Returns the steps of the run in which only the head learns."""
    until = 0
    for span in spans:
        if span.trainable != "head":
            break
        until = span.until
    return until


def why_not(chosen: recipe.Recipe, model: keras.Model) -> str:
    """Returns why features cannot be kept, or "".

    Args:
        chosen: The recipe.
        model: Its network.
    """
    data = chosen.train_data
    if not frozen_until(chosen.spans):
        return (
            f"train.trainable={chosen.spans[0].trainable!r}: the backbone "
            'learns; it is frozen with "head"'
        )
    if chosen.augment:
        return "train.augment changes each picture every time"
    if chosen.mixing is not None:
        return "train.mixing mixes pictures"
    if chosen.progressive_resizing:
        return "train.progressive_resizing changes the size of the pictures"
    if not isinstance(data.decode, cache.REPEATABLE):
        return (
            f"train_data.decode={type(data.decode).__name__} cuts another part "
            "of a picture each time; @resize_center_crop() does not"
        )
    if data.service is not None:
        return f"train_data.service={data.service!r} makes the batches"
    if data.on_corrupt != "fail":
        return f"train_data.on_corrupt={data.on_corrupt!r} leaves out records"
    try:
        parts = split.at_head(model)
    except ValueError as error:
        return str(error)
    if layer := split.draws(parts.base):
        return f"the layer {layer!r} of the backbone draws at random"
    return _too_large(chosen, parts.feature_shape)


def _too_large(chosen: recipe.Recipe, shape: tuple[int, ...]) -> str:
    if None in shape:
        return f"the features have no fixed shape, but {shape}"
    row = np.prod(features_lib.Layout(shape).row_shape)
    splits = [d for d in (chosen.train_data, chosen.eval_data) if d is not None]
    needed = int(row * sum(data.examples for data in splits))
    free = memory.free_bytes()
    # Others take some of it while the features are computed.
    if needed <= free // 2:
        return ""
    return (
        f"features of shape {shape} would take {needed / 2**30:.1f} GiB, more "
        f"than half of the {free / 2**30:.1f} GiB that are free"
    )


def check(chosen: recipe.Recipe, model: keras.Model) -> bool:
    """Returns whether features are to be kept.

    Raises:
        errors.ConfigError: `train.cache_features` asks for what cannot be.
    """
    if chosen.cache_features is False:
        return False
    reason = why_not(chosen, model)
    if reason and chosen.cache_features is True:
        raise errors.ConfigError(
            f"{_NAME}=True cannot be: {reason}. Change that, or leave it at "
            '"auto".'
        )
    if reason and frozen_until(chosen.spans):
        logging.info("Features are not kept: %s.", reason)
    return not reason


def compute(
    chosen: recipe.Recipe,
    on: engine.Engine,
    model: keras.Model,
    preprocess: step.Preprocess,
    beat: Callable[[], None],
) -> Features:
    """Computes the features of the splits that are read more than once.

    To be called by all processes alike, when the weights are those of the run.
    `eval_data` is among them where the backbone stays frozen to the end.

    Args:
        chosen: The recipe, of which `check` has said that it can be.
        on: All replicas share the work.
        model: The network.
        preprocess: Makes what the network sees.
        beat: Called at each batch: the process has not hung.

    Raises:
        errors.ConfigError: Nothing can be written to `train.features_dir`, or
            read from it.
    """
    folder = chosen.features_dir
    if folder is not None:
        # Before the work, not after it.
        agreement.on_chief(on, lambda: _check_folder(folder))
    parts = split.at_head(model)
    until = frozen_until(chosen.spans)
    make = functools.partial(
        _table, chosen, on, parts.base, preprocess, beat=beat
    )
    held_out = None
    data = chosen.eval_data
    if (
        data is not None
        and chosen.evaluate_every is not None
        and until == chosen.horizon.total_steps
        and isinstance(data.decode, cache.REPEATABLE)
    ):
        held_out = features_lib.evaluation(data, make(data))
    return Features(
        train=features_lib.train(chosen.train_data, make(chosen.train_data)),
        eval=held_out,
        head=parts.head,
        until=until,
    )


def _table(
    chosen: recipe.Recipe,
    on: engine.Engine,
    base: keras.Model,
    preprocess: step.Preprocess,
    data: cache.Cached,
    beat: Callable[[], None],
) -> features_lib.Table:
    """Returns the features of a split, from the folder or the network."""
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
    _share(on, rows)
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


def _share(on: engine.Engine, rows: np.ndarray) -> None:
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


def _check_folder(folder: str) -> None:
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


class Evaluator(evaluation.Evaluator):
    """Evaluates a head on features; shows the pictures of its mistakes."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the result of evaluation.Evaluator, with pictures."""
        result = super().__call__(*args, **kwargs)
        data = self.data
        if not isinstance(data, features_lib.EvalFeatures):
            raise TypeError(f"{data} is no split of features.")
        places = [data.table.layout.place(m.image) for m in result.mistakes]
        pictures = data.pictures(places)
        return dataclasses.replace(
            result,
            mistakes=tuple(
                dataclasses.replace(mistake, image=picture)
                for mistake, picture in zip(
                    result.mistakes, pictures, strict=True
                )
            ),
        )


def evaluator(inner: evaluation.Evaluator) -> Evaluator:
    """Returns an evaluator on `EvalFeatures` that shows pictures."""
    return Evaluator(
        **{
            field.name: getattr(inner, field.name)
            for field in dataclasses.fields(inner)
            if field.init
        }
    )
