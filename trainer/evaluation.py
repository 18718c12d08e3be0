"""Exact evaluation: every example of a split counts once.

Replicas return what they found for each example. The host adds up in float64
and whole numbers, so that the result does not depend on the batch size or the
number of replicas beyond the rounding of a single example's loss.
"""

import dataclasses
import heapq
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from input import diagnosis, errors, eval_pipeline, spec
from trainer import engine, losses, results, state, step

_MISTAKES = 24


class Mistake(NamedTuple):
    """A wrongly classified example; of two, the greater is the worse one.

    Where the network is equally sure, that is the one that comes first in the
    split: which 24 are shown depends on nothing else.
    """

    confidence: float
    minus_index: int
    label: int
    predicted: int


class Counts:
    """What has been found so far, as sums and counts.

    Args:
        num_classes: Outputs of the model.
        image_shape: Height, width and channels.
    """

    def __init__(
        self, num_classes: int, image_shape: tuple[int, int, int]
    ) -> None:
        self.loss = 0.0
        self.top_1 = 0
        self.top_5 = 0
        self.confusion = np.zeros((num_classes, num_classes), np.int64)
        # A heap, the least of the mistakes first, each with its image.
        self.mistakes: list[tuple[Mistake, np.ndarray]] = []
        self._image_shape = image_shape

    def add(self, found: dict[str, np.ndarray], images: Any) -> None:
        """Counts the real rows of one replica's batch.

        Args:
            found: What `step.eval_step` returned.
            images: uint8 [b, height, width, channels]; read only for rows
                that are among the worst mistakes.
        """
        real = found["mask"] > 0
        labels, predicted = found["label"][real], found["predicted"][real]
        self.loss += float(found["loss"][real].sum(dtype=np.float64))
        self.top_1 += int((found["rank"][real] < 1).sum())
        self.top_5 += int((found["rank"][real] < 5).sum())
        np.add.at(self.confusion, (labels, predicted), 1)
        for row in np.flatnonzero(real & (found["rank"] > 0)):
            mistake = Mistake(
                float(found["confidence"][row]),
                -int(found["index"][row]),
                int(found["label"][row]),
                int(found["predicted"][row]),
            )
            full = len(self.mistakes) == _MISTAKES
            if full and mistake <= self.mistakes[0][0]:
                continue
            push = heapq.heappushpop if full else heapq.heappush
            push(self.mistakes, (mistake, np.asarray(images[row])))

    def total(self, on: engine.Engine) -> "Counts":
        """Returns the sum over all hosts; to be called by all alike.

        What a host sends does not grow with the number of hosts, but for 24
        mistakes in text. Images go only where a mistake is among the worst of
        all.
        """
        own = [self.loss, self.top_1, self.top_5, [m for m, _ in self.mistakes]]
        hosts = [json.loads(s) for s in on.exchange(json.dumps(own).encode())]
        total = Counts(len(self.confusion), self._image_shape)
        mistakes: list[Mistake] = []
        for loss, top_1, top_5, of_host in hosts:
            total.loss += loss
            total.top_1 += top_1
            total.top_5 += top_5
            mistakes += (Mistake(*values) for values in of_host)
        total.confusion = on.sum_over_hosts(self.confusion)
        worst = heapq.nlargest(_MISTAKES, mistakes)
        images = on.sum_over_hosts(self._packed(worst)).view(np.uint8)
        size = math.prod(self._image_shape)
        total.mistakes = [
            (mistake, row[:size].reshape(self._image_shape))
            for mistake, row in zip(worst, images, strict=True)
        ]
        return total

    def _packed(self, mistakes: Sequence[Mistake]) -> np.ndarray:
        """Returns the images of this host's mistakes, zeros for the others'.

        Returns:
            int64 [mistakes, n]: eight pixels in one number. Only one host has
            a mistake, so that adding numbers up puts images together.
        """
        known = {mistake.minus_index: image for mistake, image in self.mistakes}
        size = math.prod(self._image_shape)
        packed = np.zeros([len(mistakes), -(-size // 8)], np.int64)
        for mistake, row in zip(mistakes, packed.view(np.uint8), strict=True):
            if mistake.minus_index in known:
                row[:size] = known[mistake.minus_index].reshape([-1])
        return packed


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Evaluates a model on one split, as often as asked.

    Attributes:
        data: The split.
        engine: Where to run.
        batches: The whole split, as the engine deals it. Made once, since
            tracing a pipeline takes time.
        predict: A compiled `step.eval_step` of a batch.
        global_batch_size: Rows of a batch over all replicas.
        num_classes: Outputs of the model; those beyond the classes of the
            data are reported as unused.
    """

    data: eval_pipeline.EvalData
    engine: engine.Engine
    batches: Iterable[Any]
    predict: Callable[[Any], Any]
    global_batch_size: int
    num_classes: int

    def __call__(
        self, at_step: int, progress: Callable[[Iterator[Any]], Iterator[Any]]
    ) -> results.EvaluationResult:
        """Evaluates the weights as they are.

        Args:
            at_step: Step of the weights, for the result.
            progress: Wraps the iterator of batches, to show how far it is.

        Raises:
            errors.DataError: The split cannot be read in full.
        """
        began = time.monotonic()
        counts = Counts(self.num_classes, self.data.image_shape)
        with diagnosis.explained(self.data):
            for batch in progress(iter(self.batches)):
                self._count(counts, self.predict(batch), batch[spec.IMAGE])
        counts = counts.total(self.engine)
        examples = int(counts.confusion.sum())
        if examples != self.data.examples:
            raise errors.DataError(
                f"Split {self.data.split!r} gave {examples} examples, but "
                f"dataset.json says {self.data.examples}: a shard has changed "
                "since the conversion. Convert it again."
            )
        metrics = {
            "loss": counts.loss / examples,
            "top_1_accuracy": counts.top_1 / examples,
            "top_5_accuracy": counts.top_5 / examples,
            "balanced_accuracy": results.balanced_accuracy(counts.confusion),
            "examples": examples,
            "seconds": time.monotonic() - began,
        }
        return self._result(at_step, counts, metrics)

    def _count(self, counts: Counts, found: Any, images: Any) -> None:
        per_replica = {
            name: self.engine.local_results(value)
            for name, value in found.items()
        }
        for i, pixels in enumerate(self.engine.local_results(images)):
            counts.add(
                {name: np.asarray(v[i]) for name, v in per_replica.items()},
                pixels,
            )

    def _result(
        self, at_step: int, counts: Counts, metrics: dict[str, float]
    ) -> results.EvaluationResult:
        worst = counts.mistakes
        names = self.data.source.names(
            self.data.split, [-mistake.minus_index for mistake, _ in worst]
        )
        return results.EvaluationResult(
            split=self.data.split,
            step=at_step,
            metrics=metrics,
            class_names=self._class_names(),
            confusion_matrix=counts.confusion,
            mistakes=tuple(
                results.Mistake(
                    image, found.label, found.predicted, found.confidence, name
                )
                for (found, image), name in zip(worst, names, strict=True)
            ),
        )

    def _class_names(self) -> tuple[str, ...]:
        known = self.data.source.info.class_names
        spare = range(len(known), self.num_classes)
        return (*known, *(f"unused {i}" for i in spare))


def make_evaluator(
    data: eval_pipeline.EvalData,
    on: engine.Engine,
    train: state.TrainState,
    preprocess: step.Preprocess,
    loss: losses.Loss,
    global_batch_size: int,
) -> Evaluator:
    """Returns an evaluator with its step compiled once."""

    @tf.function(autograph=False)
    def predict(batch: Any) -> Any:
        return on.run(
            lambda rows: step.eval_step(train.logits, preprocess, loss, rows),
            batch,
        )

    batches = on.distribute(
        lambda host: data.dataset(host, global_batch_size=global_batch_size)
    )
    num_classes = train.model.output_shape[-1]
    return Evaluator(data, on, batches, predict, global_batch_size, num_classes)
