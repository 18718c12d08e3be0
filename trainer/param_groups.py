"""Learning rates and weight decay that differ between parts of a network."""

import dataclasses
import difflib
import re
from collections.abc import Sequence

import keras

from models import blocks


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParamGroup:
    """Weights that are treated in their own way.

    Attributes:
        match: A regular expression, to be found in a weight's block, "/" and
            path: "^head/" is all of the head, "/bias$" every bias,
            "^stage[12]_" two stages.
        learning_rate_factor: Times the learning rate, above 0.
        weight_decay: In place of the optimizer's, at least 0; None: that one.
            Biases, and batch norm's scales and shifts, are spared here too.
    """

    match: str
    learning_rate_factor: float = 1.0
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.match)
        except re.error as error:
            raise ValueError(
                f"match={self.match!r} is not a regular expression: {error}. "
                'Such as "^head/" or "/bias$".'
            ) from error
        if not self.learning_rate_factor > 0:
            raise ValueError(
                f"learning_rate_factor={self.learning_rate_factor} must be "
                "above 0. What is not to learn at all is for train.trainable."
            )
        if self.weight_decay is not None and self.weight_decay < 0:
            raise ValueError(
                f"weight_decay={self.weight_decay} must be at least 0, or None "
                "for the optimizer's."
            )


@dataclasses.dataclass(frozen=True)
class Treatment:
    """How one weight is updated.

    Attributes:
        learning_rate_factor: Times the learning rate.
        weight_decay: Factor, at least 0.
    """

    learning_rate_factor: float
    weight_decay: float


def treatments(
    model: keras.Model,
    weights: Sequence[keras.Variable],
    *,
    weight_decay: float,
    groups: Sequence[ParamGroup],
    layer_decay: float,
) -> list[Treatment]:
    """Returns how each of some weights is updated.

    Args:
        model: All of the network: a group may be of what is frozen now.
        weights: That learn.
        weight_decay: Of weights in no group of their own decay.
        groups: The first that matches a weight decides.
        layer_decay: In (0, 1]: the learning rate of each block is this times
            that of the block after it; the head has all of it. Source: Clark et
            al. 2020 (ELECTRA, arXiv:2003.10555); for images Bao et al. 2021
            (BEiT, arXiv:2106.08254).

    Raises:
        ValueError: A group matches nothing, or wants to decay what is spared.
    """
    if not groups and layer_decay == 1:
        # Not every model has blocks.
        return alike(weights, weight_decay)
    places = _Places(model)
    for group in groups:
        places.check(group)
    found = []
    for weight in weights:
        factor, decay = layer_decay ** places.from_the_end(weight), weight_decay
        own = places.group(weight, groups)
        if own is not None:
            factor *= own.learning_rate_factor
            if own.weight_decay is not None:
                decay = own.weight_decay
        found.append(Treatment(factor, decay if _decays(weight) else 0.0))
    return found


def alike(
    weights: Sequence[keras.Variable], weight_decay: float
) -> list[Treatment]:
    """Returns the same for all weights, but for those that decay spares."""
    return [
        Treatment(1.0, weight_decay if _decays(w) else 0.0) for w in weights
    ]


def _decays(weight: keras.Variable) -> bool:
    return len(weight.shape) > 1


class _Places:
    """The weights of a model, and the block of each."""

    def __init__(self, model: keras.Model) -> None:
        self._blocks = blocks.blocks(model)
        self._index = {
            id(weight): i
            for i, block in enumerate(self._blocks)
            for layer in block.layers
            for weight in layer.variables
        }
        self._weights = [v for v in model.variables if id(v) in self._index]

    def from_the_end(self, weight: keras.Variable) -> int:
        return len(self._blocks) - 1 - self._index[id(weight)]

    def name(self, weight: keras.Variable) -> str:
        return f"{self._blocks[self._index[id(weight)]].name}/{weight.path}"

    def group(
        self, weight: keras.Variable, groups: Sequence[ParamGroup]
    ) -> ParamGroup | None:
        name = self.name(weight)
        return next((g for g in groups if re.search(g.match, name)), None)

    def check(self, group: ParamGroup) -> None:
        """Raises ValueError where a group has no effect."""
        found = [w for w in self._weights if self.group(w, [group])]
        names = [block.name for block in self._blocks]
        if not found:
            paths = [self.name(weight) for weight in self._weights]
            words = re.sub(r"[\^$\\]|[./]*$", "", group.match)
            close = difflib.get_close_matches(words, [*names, *paths], n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"param_group.match={group.match!r} is found in no weight of "
                f"the model.{hint} A weight is called such as {paths[0]!r} or "
                f"{paths[-1]!r}; the blocks are {', '.join(names)}."
            )
        if group.weight_decay and not any(map(_decays, found)):
            raise ValueError(
                f"param_group.weight_decay={group.weight_decay} has no effect: "
                f"match={group.match!r} finds only biases, scales and shifts, "
                f"such as {self.name(found[0])!r}, which are spared. Leave it "
                "out, or match kernels."
            )
