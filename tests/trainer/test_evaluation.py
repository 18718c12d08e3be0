import concurrent.futures
import dataclasses
import json
import threading
import types

import numpy as np
import pytest

from input import errors
from tests.conftest import make_engine, make_recipe
from trainer import evaluation, session


def evaluate(replicas: int, batch: int, *bindings: str):
    parts = session.build(
        make_recipe(f"train.global_batch_size = {batch}", *bindings),
        make_engine(replicas),
    )
    return parts, parts.evaluator(parts.recipe.eval_data)(7, iter)


def test_every_example_counts_once_on_every_engine() -> None:
    """50 examples: no batch size here divides them."""
    parts, expected = evaluate(1, 16)
    data = parts.recipe.eval_data.dataset(
        parts.engine.host, global_batch_size=50
    )
    batch = next(iter(data))
    logits = parts.state.model(parts.preprocess(batch["image"])).numpy()
    labels = batch["label"].numpy()
    losses = parts.recipe.loss(labels, logits).numpy()
    assert expected.metrics["examples"] == 50
    assert expected.metrics["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert expected.metrics["top_1_accuracy"] == (
        (logits.argmax(1) == labels).mean()
    )
    confusion = np.zeros((4, 4), np.int64)
    np.add.at(confusion, (labels, logits.argmax(1)), 1)
    np.testing.assert_array_equal(expected.confusion_matrix, confusion)
    assert expected.step == 7

    for replicas, size in ((1, 64), (1, 7), (2, 12), (4, 16), (4, 64)):
        _, result = evaluate(replicas, size)
        np.testing.assert_array_equal(result.confusion_matrix, confusion)
        assert result.metrics["loss"] == pytest.approx(
            expected.metrics["loss"], rel=1e-6
        )
        assert [m.name for m in result.mistakes] == [
            m.name for m in expected.mistakes
        ]


def mistakes_of(confidences: list[float], indices: list[int]):
    """All of label 0 and predicted 1; an image is its index, in one pixel."""
    ones = np.ones(len(indices), np.int32)
    found = {
        "mask": ones.astype(np.float32),
        "label": 0 * ones,
        "predicted": ones,
        "rank": ones,
        "loss": ones.astype(np.float32),
        "confidence": np.array(confidences, np.float32),
        "index": np.array(indices),
    }
    counts = evaluation.Counts(3, (1, 1, 3))
    pixels = np.array(indices, np.uint8)[:, None, None, None]
    counts.add(found, pixels + np.arange(3, dtype=np.uint8))
    return counts


def indices(counts: evaluation.Counts) -> list[int]:
    return [-mistake.minus_index for mistake, _ in counts.mistakes]


def test_mistakes_are_the_most_confident() -> None:
    confidences = list(np.linspace(0.9, 0.3, 40))
    counts = mistakes_of(confidences, list(range(40)))
    assert sorted(indices(counts)) == list(range(24))
    for mistake, image in counts.mistakes:
        first = -mistake.minus_index
        assert image.tolist() == [[[first, first + 1, first + 2]]]


@pytest.mark.parametrize("order", [range(40), range(39, -1, -1)])
def test_of_equal_mistakes_the_first_count(order) -> None:
    """However the examples have been dealt."""
    counts = mistakes_of([0.5] * 40, list(order))
    assert sorted(indices(counts)) == list(range(24))


class Hosts:
    """Some processes, as threads; notes how much each has sent."""

    def __init__(self, count: int) -> None:
        self.said: list = [None] * count
        self.sent = [0] * count
        self._barrier = threading.Barrier(count)

    def speak(self, host: int, value) -> list:
        self.said[host] = value
        self.sent[host] += len(value) if type(value) is bytes else value.nbytes
        self._barrier.wait()
        heard = list(self.said)
        self._barrier.wait()
        return heard

    def engine(self, host: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(
            exchange=lambda payload: self.speak(host, payload),
            sum_over_hosts=lambda numbers: sum(self.speak(host, numbers)),
        )


def test_hosts_add_up() -> None:
    """Those of each host that are the worst of all, once each."""
    confidences = np.linspace(0.9, 0.3, 60)
    parts = [
        mistakes_of(list(confidences[host::3]), list(range(host, 60, 3)))
        for host in range(3)
    ]
    # One host has seen no mistake.
    parts.append(evaluation.Counts(3, (1, 1, 3)))
    parts[3].loss, parts[3].confusion[2, 2] = 0.1, 5
    hosts = Hosts(4)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        totals = list(
            pool.map(
                lambda host: parts[host].total(hosts.engine(host)), range(4)
            )
        )
    for total in totals:
        assert total.loss == 20.0 + 20.0 + 20.0 + 0.1
        assert (total.top_1, total.top_5) == (0, 60)
        assert total.confusion.tolist() == [[0, 60, 0], [0, 0, 0], [0, 0, 5]]
        # The worst first.
        assert indices(total) == list(range(24))
        assert [image[0, 0].tolist() for _, image in total.mistakes] == [
            [i, i + 1, i + 2] for i in range(24)
        ]
        assert total.mistakes[0][0] == (np.float32(0.9), 0, 0, 1)
    # The matrix, and 24 images of three bytes, each in eight.
    text = len(json.dumps([1.0, 0, 0, [[0.123456789012345678, 10, 0, 1]] * 24]))
    assert max(hosts.sent) < 8 * 9 + 8 * 24 + 2 * text


def test_padding_does_not_count() -> None:
    counts = evaluation.Counts(2, (1, 1, 1))
    found = {
        "mask": np.array([1.0, 0.0]),
        "label": np.array([1, 0]),
        "predicted": np.array([1, 1]),
        "rank": np.array([0, 1]),
        "loss": np.array([0.5, np.inf]),
        "confidence": np.array([0.6, 1.0]),
        "index": np.array([0, -1]),
    }
    counts.add(found, np.zeros((2, 1, 1, 1), np.uint8))
    assert counts.loss == 0.5
    assert counts.confusion.tolist() == [[0, 0], [0, 1]]
    assert counts.mistakes == []


def test_a_split_that_has_changed_is_bad_data() -> None:
    parts = session.build(make_recipe(), make_engine(1))
    data = parts.recipe.eval_data
    sizes = data.source.info.splits["validation"]
    more = dataclasses.replace(sizes[-1], examples=sizes[-1].examples + 16)
    info = dataclasses.replace(
        data.source.info,
        splits=data.source.info.splits | {"validation": (*sizes[:-1], more)},
    )
    evaluator = parts.evaluator(data)
    source = types.SimpleNamespace(info=info)
    changed = dataclasses.replace(
        evaluator, data=dataclasses.replace(data, source=source)
    )
    with pytest.raises(errors.DataError, match="50 examples, but .* says 66"):
        changed(0, iter)
