"""Which mistakes are shown, however the examples were dealt."""

import concurrent.futures
import json

import numpy as np
import pytest

from tests.trainer.test_evaluation import Hosts
from trainer import mistakes


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
    worst = mistakes.Mistakes((1, 1, 3))
    pixels = np.array(indices, np.uint8)[:, None, None, None]
    worst.add(found, pixels + np.arange(3, dtype=np.uint8))
    return worst


def indices(found: mistakes.Mistakes) -> list[int]:
    return [-mistake.minus_index for mistake, _ in found.worst]


def test_mistakes_are_the_most_confident() -> None:
    confidences = list(np.linspace(0.9, 0.3, 40))
    worst = mistakes_of(confidences, list(range(40)))
    assert sorted(indices(worst)) == list(range(24))
    for mistake, image in worst.worst:
        first = -mistake.minus_index
        assert image.tolist() == [[[first, first + 1, first + 2]]]


@pytest.mark.parametrize("order", [range(40), range(39, -1, -1)])
def test_of_equal_mistakes_the_first_count(order) -> None:
    """However the examples have been dealt."""
    worst = mistakes_of([0.5] * 40, list(order))
    assert sorted(indices(worst)) == list(range(24))


def test_hosts_add_up() -> None:
    """Those of each host that are the worst of all, once each."""
    confidences = np.linspace(0.9, 0.3, 60)
    parts = [
        mistakes_of(list(confidences[host::3]), list(range(host, 60, 3)))
        for host in range(3)
    ]
    # One host has seen no mistake.
    parts.append(mistakes.Mistakes((1, 1, 3)))
    hosts = Hosts(4)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        totals = list(
            pool.map(
                lambda host: parts[host].total(hosts.engine(host)), range(4)
            )
        )
    for total in totals:
        # The worst first.
        assert indices(total) == list(range(24))
        assert [image[0, 0].tolist() for _, image in total.worst] == [
            [i, i + 1, i + 2] for i in range(24)
        ]
        assert total.worst[0][0] == (np.float32(0.9), 0, [0], [1])
    # 24 images of three bytes, each in eight.
    text = len(json.dumps([[0.123456789012345678, 10, [0], [1]]] * 24))
    assert max(hosts.sent) < 8 * 24 + 2 * text


def test_label_sets() -> None:
    """Of multi-label data, the classes that there are and those predicted."""
    found = {
        "mask": np.ones(3, np.float32),
        "label": np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1]], np.float32),
        "predicted": np.array([[1, 0, 1], [0, 1, 0], [1, 0, 0]], np.float32),
        "rank": np.array([0, 1, 2]),
        "confidence": np.array([0, 0.7, 0.9], np.float32),
        "index": np.arange(3),
    }
    worst = mistakes.Mistakes((1, 1, 1))
    worst.add(found, np.zeros((3, 1, 1, 1), np.uint8))
    assert [list(m[1:]) for m, _ in sorted(worst.worst)] == [
        [-1, [], [1]],
        [-2, [0, 1, 2], [0]],
    ]
