"""Exact evaluation: every example of a split counts once.

Replicas return what they found for each example. The host puts that together in
the order of the split, and adds up in float64 and whole numbers: the result
does not depend on the batch size or the number of replicas beyond the rounding
of a single example's logits.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from input import diagnosis, errors, eval_pipeline, slices, spec
from trainer import (
    calibration,
    engine,
    losses,
    metrics,
    mistakes,
    predictions,
    results,
    scoring,
    slicing,
    state,
    step,
)


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Evaluates a model on one split, as often as asked.

    Attributes:
        data: The split.
        engine: Where to run.
        batches: The whole split, as the engine deals it. Made once, since
            tracing a pipeline takes time.
        predict: A compiled `predictions.of_batch`.
        global_batch_size: Rows of a batch over all replicas.
        num_classes: Outputs of the model; those beyond the classes of the
            data are reported as unused.
        metric_set: Which metrics there are.
        loss: Says how logits become probabilities.
    """

    data: eval_pipeline.EvalData
    engine: engine.Engine
    batches: Iterable[Any]
    predict: Callable[[Any], Any]
    global_batch_size: int
    num_classes: int
    metric_set: scoring.Scoring
    loss: losses.Loss

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
        gathering = predictions.Gathering(self.num_classes)
        worst = mistakes.Mistakes(self.data.image_shape)
        with diagnosis.explained(self.data):
            for batch in progress(iter(self.batches)):
                found = self.predict(batch)
                self._add(gathering, worst, found, batch[spec.IMAGE])
        total, examples = gathering.total(self.engine, self.data.examples)
        worst = worst.total(self.engine)
        if examples != self.data.examples:
            raise errors.DataError(
                f"Split {self.data.split!r} gave {examples} examples, but "
                f"dataset.json says {self.data.examples}: a shard has changed "
                "since the conversion. Convert it again."
            )
        scored = self._scored(total)
        of_slices = tuple(
            slicing.of_slices(
                total,
                self._slices,
                functools.partial(self._scored, with_intervals=False),
            )
        )
        values = scored.metrics | slicing.summary(of_slices)
        for name, ends in scored.intervals.items():
            values |= zip((f"{name}_low", f"{name}_high"), ends, strict=True)
        values |= {"examples": examples, "seconds": time.monotonic() - began}
        return self._result(at_step, scored, values, of_slices, worst)

    def _add(
        self,
        gathering: predictions.Gathering,
        worst: mistakes.Mistakes,
        found: Any,
        images: Any,
    ) -> None:
        per_replica = {
            name: self.engine.local_results(value)
            for name, value in found.items()
        }
        for i, pixels in enumerate(self.engine.local_results(images)):
            rows = {name: np.asarray(v[i]) for name, v in per_replica.items()}
            gathering.add(rows)
            worst.add(rows, pixels)

    def _scored(
        self, found: predictions.Predictions, with_intervals: bool = True
    ) -> scoring.Scores:
        return self.metric_set.score(
            found,
            self._probabilities,
            self._activation,
            with_intervals=with_intervals,
        )

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        return self.loss.probabilities(tf.constant(logits)).numpy()

    @functools.cached_property
    def _activation(self) -> calibration.Activation:
        return "softmax" if metrics.is_softmax(self.loss) else "sigmoid"

    @functools.cached_property
    def _slices(self) -> dict[str, slices.Codes]:
        """Where each example of the split belongs; read once."""
        return slices.read(self.data)

    def _result(
        self,
        at_step: int,
        found: scoring.Scores,
        values: dict[str, float],
        of_slices: tuple[results.SliceResult, ...],
        worst: mistakes.Mistakes,
    ) -> results.EvaluationResult:
        shown = worst.worst
        names = self.data.source.names(
            self.data.split, [-mistake.minus_index for mistake, _ in shown]
        )
        # One class, or those that an example has.
        label_of = list if found.confusion_matrix.ndim == 3 else _only
        return results.EvaluationResult(
            split=self.data.split,
            step=at_step,
            metrics=values,
            class_names=self._class_names(),
            confusion_matrix=found.confusion_matrix,
            mistakes=tuple(
                results.Mistake(
                    image,
                    label_of(mistake.labels),
                    label_of(mistake.predicted),
                    mistake.confidence,
                    name,
                )
                for (mistake, image), name in zip(shown, names, strict=True)
            ),
            intervals=found.intervals,
            activation=self._activation,
            reliability=found.reliability,
            scaled=found.scaled,
            ranking=found.ranking,
            slices=of_slices,
        )

    def _class_names(self) -> tuple[str, ...]:
        known = self.data.source.info.class_names
        spare = range(len(known), self.num_classes)
        return (*known, *(f"unused {i}" for i in spare))


def _only(classes: Any) -> int:
    (single,) = classes
    return single


def make_evaluator(
    data: eval_pipeline.EvalData,
    on: engine.Engine,
    train: state.TrainState,
    preprocess: step.Preprocess,
    loss: losses.Loss,
    global_batch_size: int,
    metric_set: scoring.Scoring | None = None,
) -> Evaluator:
    """Returns an evaluator with its step compiled once.

    Args:
        data: The split.
        on: Where to run.
        train: Whose weights.
        preprocess: Makes what the network sees.
        loss: Per-example loss.
        global_batch_size: Rows of a batch over all replicas.
        metric_set: Which metrics there are; None: the usual ones.
    """
    chosen = metric_set or scoring.Scoring()
    num_classes = train.model.output_shape[-1]
    kept = chosen.keeps_logits(data.examples, num_classes)
    if not kept:
        logging.warning(
            "Split %r: the logits of %d examples and %d classes take more "
            "than metrics.max_bytes=%d. No ROC-AUC, average precision and "
            "temperature.",
            data.split,
            data.examples,
            num_classes,
            chosen.max_bytes,
        )
    softmax = metrics.is_softmax(loss)

    @tf.function(autograph=False)
    def predict(batch: Any) -> Any:
        def of_rows(rows: spec.Batch) -> dict[str, Any]:
            found = predictions.of_batch(
                train.logits,
                preprocess,
                loss,
                rows,
                softmax=softmax,
                threshold=chosen.threshold,
            )
            if not kept:
                del found["logits"]
            return found

        return on.run(of_rows, batch)

    batches = on.distribute(
        lambda host: data.dataset(host, global_batch_size=global_batch_size)
    )
    return Evaluator(
        data,
        on,
        batches,
        predict,
        global_batch_size,
        num_classes,
        chosen,
        loss,
    )
