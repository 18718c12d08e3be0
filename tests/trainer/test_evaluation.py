import concurrent.futures
import dataclasses
import threading
import types

import numpy as np
import pytest

from input import errors
from tests.conftest import make_engine, make_recipe
from trainer import predictions, session


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


def rows_of(labels, indices, mask=None) -> dict[str, np.ndarray]:
    """What replicas return of some rows, told apart by their numbers."""
    labels, indices = np.array(labels, np.int32), np.array(indices)
    numbers = indices.astype(np.float32)
    return {
        "mask": np.ones(len(labels), np.float32) if mask is None else mask,
        "index": indices,
        "label": labels,
        "predicted": np.zeros_like(labels),
        "rank": labels,
        "loss": numbers / 7,
        "nll": numbers / 3,
        "brier": numbers / 9,
        "confidence": np.full(len(labels), 0.5, np.float32),
        "logits": np.stack([numbers, np.log1p(numbers + 1), -numbers / 11], 1),
    }


def test_hosts_put_the_split_together() -> None:
    """To the bit, in its order, however it has been dealt."""
    examples = 20
    order = np.random.default_rng(0).permutation(examples)
    dealt = [order[:9], order[9:9], order[9:]]
    hosts = Hosts(3)

    def of_host(host: int):
        gathering = predictions.Gathering(3)
        own = dealt[host]
        # And a row of padding, which has the index of none.
        rows = rows_of([*(own % 3), 0], [*own, -1])
        rows["mask"][-1] = 0
        gathering.add(rows)
        return gathering.total(hosts.engine(host), examples)

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        totals = list(pool.map(of_host, range(3)))
    expected = rows_of(np.arange(examples) % 3, np.arange(examples))
    for total, seen in totals:
        assert seen == examples
        np.testing.assert_array_equal(total.labels, expected["label"])
        for name in ("loss", "nll", "brier", "rank", "logits"):
            found = getattr(total, name)
            assert found.dtype == expected[name].dtype
            np.testing.assert_array_equal(found, expected[name])


def test_an_example_that_comes_twice_is_noticed() -> None:
    gathering = predictions.Gathering(3)
    gathering.add(rows_of([0, 1, 2], [0, 1, 1]))
    _, seen = gathering.total(make_engine(1), 3)
    assert seen == 1


def test_hosts_send_parts(monkeypatch) -> None:
    """A split that is sent in parts of four rows is the same."""
    monkeypatch.setattr(predictions, "_PART", 4 * 16)
    gathering = predictions.Gathering(3)
    rows = rows_of(np.arange(10) % 3, np.arange(10))
    gathering.add(rows)
    total, _ = gathering.total(make_engine(1), 10)
    np.testing.assert_array_equal(total.logits, rows["logits"])


def test_padding_does_not_count() -> None:
    gathering = predictions.Gathering(3)
    rows = rows_of([1, 0], [0, -1], np.array([1.0, 0.0], np.float32))
    rows["loss"] = np.array([0.5, np.inf], np.float32)
    gathering.add(rows)
    total, seen = gathering.total(make_engine(1), 1)
    assert seen == 1
    assert total.loss.tolist() == [0.5]
    assert total.confusion_matrix().sum() == 1


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
