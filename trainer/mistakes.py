"""The worst mistakes of an evaluation, with their images."""

import heapq
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trainer import engine

MOST = 24


class Found(NamedTuple):
    """A wrongly classified example; of two, the greater is the worse one.

    Where the network is equally sure, that is the one that comes first in the
    split: which 24 are shown depends on nothing else.
    """

    confidence: float
    minus_index: int
    labels: Sequence[int]
    predicted: Sequence[int]


class Mistakes:
    """The worst so far.

    Args:
        image_shape: Height, width and channels.

    Attributes:
        worst: Each with its image, uint8 `image_shape`: a heap, the least of
            them first; after `total`, the worst first.
    """

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        self.worst: list[tuple[Found, np.ndarray]] = []
        self._image_shape = image_shape

    def add(self, found: Mapping[str, np.ndarray], images: Any) -> None:
        """Looks at the real rows of one replica's batch.

        Args:
            found: What `predictions.of_batch` returned.
            images: uint8 [b, height, width, channels]; read only for rows
                that are among the worst.
        """
        wrong = (found["mask"] > 0) & (found["rank"] > 0)
        for row in np.flatnonzero(wrong):
            mistake = Found(
                float(found["confidence"][row]),
                -int(found["index"][row]),
                _classes(found["label"][row]),
                _classes(found["predicted"][row]),
            )
            full = len(self.worst) == MOST
            if full and mistake <= self.worst[0][0]:
                continue
            push = heapq.heappushpop if full else heapq.heappush
            push(self.worst, (mistake, np.asarray(images[row])))

    def total(self, on: engine.Engine) -> "Mistakes":
        """Returns the worst of all hosts; to be called by all alike.

        Each host sends its 24 in text. Images go only where a mistake is
        among the worst of all.
        """
        own = json.dumps([mistake for mistake, _ in self.worst])
        hosts = [json.loads(said) for said in on.exchange(own.encode())]
        worst = heapq.nlargest(
            MOST, (Found(*values) for of_host in hosts for values in of_host)
        )
        images = on.sum_over_hosts(self._packed(worst)).view(np.uint8)
        size = math.prod(self._image_shape)
        total = Mistakes(self._image_shape)
        total.worst = [
            (mistake, row[:size].reshape(self._image_shape))
            for mistake, row in zip(worst, images, strict=True)
        ]
        return total

    def _packed(self, mistakes: Sequence[Found]) -> np.ndarray:
        """Returns the images of this host's mistakes, zeros for the others'.

        Returns:
            int64 [mistakes, n]: eight pixels in one number. Only one host has
            a mistake, so that adding numbers up puts images together.
        """
        known = {mistake.minus_index: image for mistake, image in self.worst}
        size = math.prod(self._image_shape)
        packed = np.zeros([len(mistakes), -(-size // 8)], np.int64)
        for mistake, row in zip(mistakes, packed.view(np.uint8), strict=True):
            if mistake.minus_index in known:
                row[:size] = known[mistake.minus_index].reshape([-1])
        return packed


def _classes(label: np.ndarray) -> list[int]:
    """Returns the class of an example, or those that it has."""
    if label.ndim:
        return np.flatnonzero(label > 0.5).tolist()
    return [int(label)]
