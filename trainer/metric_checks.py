"""Do the metrics, the loss and the labels of a recipe fit each other?"""

import difflib
import re
from collections.abc import Sequence

from input import dataset, eval_pipeline, slice_columns
from trainer import errors, losses, metrics, scoring, slicing

AUTO = "auto"


def best_metric(
    wanted: str,
    chosen: scoring.Scoring,
    data: eval_pipeline.EvalData | None,
    info: dataset.DatasetInfo,
    classes: int,
) -> str:
    """Returns the metric by which a checkpoint is the best.

    Args:
        wanted: Its name; "auto": the accuracy, or the mean average precision
            of multi-label data.
        chosen: Which metrics there are.
        data: The split that decides; None: there is none.
        info: Of the training split.
        classes: Outputs of the network.

    Raises:
        errors.ConfigError: There is no such metric.
    """
    examples = 0 if data is None else data.examples
    kept = chosen.keeps_logits(examples, classes)
    known = chosen.names(info.multi_label, kept)
    if data is not None:
        columns = slice_columns.chosen(data.source.info, data.slices)
        known += slicing.metric_names(columns)
    if wanted == AUTO:
        ranked = "average_precision_macro"
        if not info.multi_label:
            return scoring.accuracy_name(False)
        return ranked if ranked in known else scoring.accuracy_name(True)
    if wanted not in known:
        raise errors.ConfigError(_unknown(wanted, known, info.multi_label))
    return wanted


def check_labels(
    info: dataset.DatasetInfo,
    evaluations: Sequence[eval_pipeline.EvalData],
    num_classes: int | None,
    chosen: scoring.Scoring,
) -> None:
    """Makes sure that all splits are of one kind, and their metrics known.

    Raises:
        errors.ConfigError: They are not.
    """
    classes = len(info.class_names)
    for data in evaluations:
        if data.source.info.multi_label != info.multi_label:
            raise errors.ConfigError(
                f"Of split {data.split!r} and the training split, one is "
                "multi-label data and the other is not. Convert both alike."
            )
        if info.multi_label and not chosen.keeps_logits(data.examples, classes):
            raise errors.ConfigError(
                f"metrics.max_bytes={chosen.max_bytes}, but the metrics of "
                f"multi-label data need {4 * data.examples * classes:,} bytes "
                f"for split {data.split!r}. Give more."
            )
    if info.multi_label and num_classes not in (None, classes):
        raise errors.ConfigError(
            f"train.num_classes={num_classes}, but multi-label data of "
            f"{classes} classes trains exactly as many outputs. Leave it "
            "unset."
        )


def check_loss(info: dataset.DatasetInfo, loss: losses.Loss) -> None:
    """Makes sure that the loss can be trained on the labels.

    To be called when TensorFlow has been started.

    Raises:
        errors.ConfigError: It cannot.
    """
    if info.multi_label and metrics.is_softmax(loss):
        raise errors.ConfigError(
            "train.loss: an example of multi-label data has any number of "
            "classes, but the probabilities of this loss add up to 1. Use one "
            "of independent classes: train.loss = @binary_cross_entropy()."
        )


def _unknown(wanted: str, known: Sequence[str], multi_label: bool) -> str:
    close = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    top = re.fullmatch(r"top_([1-9]\d*)_accuracy", wanted)
    if top and not multi_label:
        hint = f" For it, bind metrics.top_k = [{top[1]}]."
    kind = "multi-label data" if multi_label else "this evaluation"
    return (
        f"train.best_metric={wanted!r} is not a metric of {kind}.{hint} Known "
        f"here: {', '.join(known)}."
    )
