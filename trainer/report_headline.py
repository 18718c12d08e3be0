"""The run in a few figures: evaluations and headline tiles."""

from __future__ import annotations

from typing import NamedTuple

from trainer import report_text as text
from trainer import scoring
from trainer.report_run import Run, median, number
from trainer.results import EvaluationResult
from trainer.scores import wilson_interval

# The split that speaks for the run: the first of these, else by name.
_SPLITS = ("test", "eval", "validation", "val")


class Evaluation(NamedTuple):
    """The newest evaluation of a split; None is what is not known.

    Of multi-label data `top_1` and `correct` are of examples all of whose
    classes are right, and there is a mean average precision.
    """

    split: str
    step: int
    examples: int | None
    correct: int | None
    top_1: float | None
    top_5: float | None
    loss: float | None
    result: EvaluationResult | None
    multi_label: bool = False
    mean_average_precision: float | None = None

    @property
    def interval(self) -> str:
        """The 95 % interval of `top_1`, "" if the counts are not known."""
        if self.correct is None or not self.examples:
            return ""
        low, high = wilson_interval(self.correct, self.examples)
        return text.percent_range(low, high, self.examples)


class Tile(NamedTuple):
    """A figure of the headline."""

    label: str
    value: str
    note: str = ""


def evaluations(run: Run) -> list[Evaluation]:
    """One per split, the one that speaks for the run first."""
    found = []
    for split in {**run.results, **run.log.evaluations}:
        result = run.results.get(split)
        if result is not None:
            found.append(_from_result(result))
        else:
            found.append(_from_log(run, split))
    ranks = {split: rank for rank, split in enumerate(_SPLITS)}
    # Training examples flatter the model: they come last.
    ranks["train"] = len(ranks) + 1
    return sorted(
        found, key=lambda e: (ranks.get(e.split, len(_SPLITS)), e.split)
    )


def tiles(run: Run, best: Evaluation | None) -> list[Tile]:
    """The headline; figures that are not known are left out.

    Args:
      run: as read.
      best: the evaluation that speaks for the run.
    """
    candidates = (
        _accuracy_tile(best),
        _loss_tile(run, best),
        _steps_tile(run, best),
        _time_tile(run),
        _speed_tile(run),
        _parameters_tile(run),
        _engine_tile(run),
    )
    return [tile for tile in candidates if tile is not None]


def _from_result(result: EvaluationResult) -> Evaluation:
    examples = result.examples
    return Evaluation(
        split=result.split,
        step=result.step,
        examples=examples,
        correct=result.correct,
        top_1=result.correct / examples if examples else None,
        top_5=number(result.metrics, "top_5_accuracy"),
        loss=number(result.metrics, "loss"),
        result=result,
        multi_label=result.multi_label,
        mean_average_precision=number(
            result.metrics, "average_precision_macro"
        ),
    )


def _from_log(run: Run, split: str) -> Evaluation:
    entry = run.log.evaluations[split][-1]
    multi_label = "subset_accuracy" in entry
    top_1 = number(entry, scoring.accuracy_name(multi_label))
    examples = number(entry, "examples")
    return Evaluation(
        split=split,
        step=entry["step"],
        examples=None if examples is None else round(examples),
        correct=(
            None
            if top_1 is None or examples is None
            else round(top_1 * examples)
        ),
        top_1=top_1,
        top_5=number(entry, "top_5_accuracy"),
        loss=number(entry, "loss"),
        result=None,
        multi_label=multi_label,
        mean_average_precision=number(entry, "average_precision_macro"),
    )


def _accuracy_tile(best: Evaluation | None) -> Tile:
    if best is not None and best.multi_label:
        return _precision_tile(best)
    if best is None or best.top_1 is None:
        return Tile("Top-1 accuracy", text.MISSING, "not evaluated yet")
    note = f"{best.split}, step {text.count(best.step)}"
    if best.interval and best.correct is not None and best.examples:
        note = (
            f"{text.count(best.correct)} of {text.count(best.examples)} "
            f"{best.split} images, 95{text.THIN_SPACE}% interval "
            f"{best.interval}"
        )
    return Tile("Top-1 accuracy", text.percent(best.top_1, best.examples), note)


def _precision_tile(best: Evaluation) -> Tile:
    """Of multi-label data: few examples have all of their classes right."""
    note = f"{best.split}, step {text.count(best.step)}"
    if best.top_1 is not None and best.examples:
        right = text.percent(best.top_1, best.examples)
        note = (
            f"{text.count(best.examples)} {best.split} images, {right} with "
            f"all classes right, 95{text.THIN_SPACE}% interval {best.interval}"
        )
    return Tile(
        "Mean average precision",
        text.percent(best.mean_average_precision, best.examples),
        note,
    )


def _loss_tile(run: Run, best: Evaluation | None) -> Tile | None:
    if best is not None and best.loss is not None:
        note = f"{best.split}, step {text.count(best.step)}"
        return Tile("Loss", text.number(best.loss), note)
    for entry in reversed(run.log.train):
        loss = number(entry, "loss")
        if loss is not None:
            note = f"training, step {text.count(entry['step'])}"
            return Tile("Loss", text.number(loss), note)
    return None


def _steps_tile(run: Run, best: Evaluation | None) -> Tile:
    steps = run.log.last_step or (best.step if best else 0)
    batch = number(run.facts, "global_batch_size")
    examples = number(run.facts, "train_examples")
    notes = []
    if batch and examples:
        epochs = text.counted(steps * batch / examples, "epoch")
        notes.append(f"{epochs} of {text.counted(examples, 'image')}")
    if batch:
        notes.append(f"batch {text.count(batch)}")
    return Tile("Steps", text.count(steps), ", ".join(notes))


def _time_tile(run: Run) -> Tile | None:
    seconds = run.log.seconds
    if seconds is None:
        return None
    times = len(run.log.restarts)
    note = f"{text.counted(times, 'restart')}, pauses left out" if times else ""
    return Tile("Training time", text.duration(seconds), note)


def _speed_tile(run: Run) -> Tile | None:
    rate = median(run.log.train, "images_per_second")
    if rate is None:
        return None
    wait = median(run.log.train, "input_wait_fraction")
    note = "" if wait is None else f"{text.percent(wait)} waiting for input"
    return Tile("Images per second", text.number(rate), note)


def _parameters_tile(run: Run) -> Tile | None:
    parameters = number(run.facts, "parameters")
    if parameters is None:
        return None
    note = f"{parameters / 1e6:.3g} million" if parameters >= 1e4 else ""
    return Tile("Parameters", text.count(parameters), note)


def _engine_tile(run: Run) -> Tile | None:
    replicas = number(run.facts, "num_replicas")
    notes = [text.counted(replicas, "replica")] if replicas else []
    if "precision" in run.facts:
        notes.append(str(run.facts["precision"]))
    if "engine" not in run.facts:
        return None
    return Tile("Engine", str(run.facts["engine"]), ", ".join(notes))
