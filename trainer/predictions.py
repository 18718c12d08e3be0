"""What a network says of every example of a split, gathered over hosts.

A host has the rows that its replicas were dealt. Put together, each example
stands at its place in the split, so that what follows does not depend on
batches, replicas or hosts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from input import spec
from trainer import engine, losses, metrics

# Bytes of a part that hosts send each other at a time.
_PART = 1 << 26
# Rows whose probabilities are computed at a time hold so many numbers.
_NUMBERS = 1 << 23


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Predictions:
    """Of n examples and C classes, in the order of the split.

    Attributes:
        num_classes: C.
        labels: int32 [n]; of multi-label data bool [n, C].
        predicted: The same, of the network.
        loss: float32 [n].
        nll: float32 [n], -log of the probability of the label; of
            independent classes the sum over them.
        brier: float32 [n], squared distance of the probabilities from the
            label, summed over classes.
        rank: int32 [n], how many classes come before the right one; of
            multi-label data how many classes are wrong.
        confidence: float32 [n], probability of the predicted class; of
            multi-label data the largest that was given to a wrong decision.
        logits: float32 [n, C]; None where they take too much memory.
    """

    num_classes: int
    labels: np.ndarray
    predicted: np.ndarray
    loss: np.ndarray
    nll: np.ndarray
    brier: np.ndarray
    rank: np.ndarray
    confidence: np.ndarray
    logits: np.ndarray | None = None

    @property
    def multi_label(self) -> bool:
        """Whether an example may have several classes, or none."""
        return self.labels.ndim == 2

    def confusion_matrix(self) -> np.ndarray:
        """Returns int64 [C, C], rows true; [C, 2, 2] of multi-label data."""
        classes = self.num_classes
        if not self.multi_label:
            cells = self.labels.astype(np.int64) * classes + self.predicted
            counts = np.bincount(cells, minlength=classes**2)
            return counts.reshape([classes, classes])
        cells = 2 * self.labels.astype(np.int64) + self.predicted
        cells += 4 * np.arange(classes)
        counts = np.bincount(cells.reshape([-1]), minlength=4 * classes)
        return counts.reshape([classes, 2, 2])

    def probabilities(
        self, of_logits: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray | None:
        """Returns float32 [n, C]; None where the logits were not kept."""
        if self.logits is None:
            return None
        return in_parts(self.logits, of_logits)

    def take(self, rows: np.ndarray) -> Predictions:
        """Returns those of some examples.

        Args:
            rows: bool [n] or integers.
        """
        arrays = {
            field.name: value[rows]
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray)
        }
        return dataclasses.replace(self, **arrays)


def in_parts(
    logits: np.ndarray, function: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Applies a function of rows to some rows at a time."""
    rows = max(1, _NUMBERS // max(logits.shape[1], 1))
    result = np.empty_like(logits)
    for start in range(0, len(logits), rows):
        result[start : start + rows] = function(logits[start : start + rows])
    return result


def of_batch(
    predict: Callable[[tf.Tensor], tf.Tensor],
    preprocess: Callable[[tf.Tensor], tf.Tensor],
    loss: losses.Loss,
    batch: spec.Batch,
    *,
    softmax: bool = True,
    threshold: float = 0.5,
) -> dict[str, Any]:
    """Returns what each example of a batch gives, padding included.

    Args:
        predict: From preprocessed images to logits.
        preprocess: Makes what the network sees.
        loss: Per-example loss.
        batch: A replica's rows.
        softmax: Whether the probabilities of the loss add up to 1.
        threshold: Of multi-label data: a class is predicted from this
            probability on.

    Returns:
        The fields of `Predictions`, each [b, ...], with `label`, `predicted`,
        `mask` and `index`. Of multi-label data, `label` and `predicted` are
        [b, classes].
    """
    labels = batch[spec.LABEL]
    logits = predict(preprocess(batch[spec.IMAGE]))
    probabilities = loss.probabilities(logits)
    if labels.shape.rank == 1:
        rank = metrics.rank(logits, labels)
        predicted = tf.argmax(logits, axis=1, output_type=tf.int32)
        confidence = tf.reduce_max(probabilities, axis=1)
    else:
        said = probabilities >= threshold
        rank = metrics.wrong_classes(said, labels)
        predicted = tf.cast(said, tf.float32)
        # How sure it is of what is wrong: of the worst class.
        distance = tf.abs(probabilities - labels)
        wrong = said != (labels > 0.5)
        confidence = tf.reduce_max(
            tf.where(wrong, distance, tf.zeros_like(distance)), axis=1
        )
    return {
        "loss": loss(labels, logits),
        "nll": metrics.nll(logits, labels, softmax),
        "brier": metrics.brier(probabilities, labels),
        "rank": rank,
        "predicted": predicted,
        "confidence": confidence,
        "logits": logits,
        "label": labels,
        "mask": batch[spec.MASK],
        "index": batch[spec.INDEX],
    }


class Gathering:
    """The rows that this host has seen so far.

    Args:
        num_classes: Outputs of the model.
    """

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._parts: list[Mapping[str, np.ndarray]] = []

    def add(self, found: Mapping[str, np.ndarray]) -> None:
        """Takes the real rows of one replica's batch.

        Args:
            found: What `of_batch` returned.
        """
        real = found[spec.MASK] > 0
        self._parts.append(
            {
                name: np.asarray(value)[real]
                for name, value in found.items()
                if name != spec.MASK
            }
        )

    def total(
        self, on: engine.Engine, examples: int
    ) -> tuple[Predictions, int]:
        """Returns all examples; to be called by all hosts alike.

        On each host are then all rows: 4 bytes x examples x classes for the
        logits, and while they are gathered, as much for those of its own.

        Args:
            on: Adds up over hosts.
            examples: Of the split.

        Returns:
            The predictions, and how many different examples were seen; where
            that is not `examples`, the predictions are worth nothing.
        """
        own = {
            name: np.concatenate([part[name] for part in self._parts])
            for name in self._parts[0]
        }
        self._parts = []
        index = own.pop(spec.INDEX)
        placed = {
            name: _placed(on, index, values, examples)
            for name, values in own.items()
        }
        seen = np.zeros([examples], np.int64)
        np.add.at(seen, index[index < examples], 1)
        seen = on.sum_over_hosts(seen)
        labels, predicted = placed.pop(spec.LABEL), placed.pop("predicted")
        if labels.ndim == 2:
            labels, predicted = labels > 0.5, predicted > 0.5
        return (
            Predictions(
                num_classes=self._num_classes,
                labels=labels,
                predicted=predicted,
                **placed,
            ),
            int((seen == 1).sum()),
        )


def _placed(
    on: engine.Engine, index: np.ndarray, values: np.ndarray, examples: int
) -> np.ndarray:
    """Returns the rows of all hosts, each at its place.

    Only one host has a row, and the others zeros in its place: adding whole
    numbers up puts bits together as they are, eight bytes in one number.

    Args:
        on: Adds up over hosts.
        index: int64 [m], the places of the rows of this host.
        values: [m, ...] of any type but int64's size.
        examples: Rows over all hosts.
    """
    row_shape, row_bytes = values.shape[1:], values[:1].nbytes
    if not row_bytes:
        row_bytes = values.dtype.itemsize * int(np.prod(row_shape))
    words = -(-row_bytes // 8)
    result = np.zeros([examples, *row_shape], values.dtype)
    rows = max(1, _PART // (8 * words))
    for start in range(0, examples, rows):
        end = min(start + rows, examples)
        own = (start <= index) & (index < end)
        part = np.zeros([end - start, words], np.int64)
        packed = np.ascontiguousarray(values[own]).view(np.uint8)
        packed = packed.reshape([int(own.sum()), row_bytes])
        part.view(np.uint8)[index[own] - start, :row_bytes] = packed
        part = on.sum_over_hosts(part)
        unpacked = np.ascontiguousarray(part.view(np.uint8)[:, :row_bytes])
        result[start:end] = unpacked.view(values.dtype).reshape(
            [end - start, *row_shape]
        )
    return result
