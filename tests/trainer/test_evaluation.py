import numpy as np
import pytest

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


def test_mistakes_are_the_most_confident() -> None:
    counts = evaluation.Counts(3)
    confidences = np.linspace(0.3, 0.9, 40).astype(np.float32)
    found = {
        "mask": np.ones(40, np.float32),
        "label": np.zeros(40, np.int32),
        "predicted": np.ones(40, np.int32),
        "rank": np.ones(40, np.int32),
        "loss": np.ones(40, np.float32),
        "confidence": confidences[::-1],
        "index": np.arange(40),
    }
    images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)
    counts.add(found, images)
    assert sorted(m[1] for m in counts.mistakes) == list(range(24))
    assert all(int(m[4].item()) == m[1] for m in counts.mistakes)


def test_padding_does_not_count() -> None:
    counts = evaluation.Counts(2)
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
