"""What training minimises for each example: its loss, weighted and mixed."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from input import augment
from input import mixing as mixing_lib
from trainer import losses


@dataclasses.dataclass(frozen=True)
class Targets:
    """What each example of a batch is to be.

    Attributes:
        labels: int32 [b], its own class; or float32 [b, classes], 1 for each
            that it has.
        partners: The same of the example mixed into it.
        share: float32 [b], the part of its own, in [0, 1]; 1 where unmixed.
    """

    labels: tf.Tensor
    partners: tf.Tensor
    share: tf.Tensor

    @property
    def dominant(self) -> tf.Tensor:
        """int32 [b] or float32 [b, classes], what it shows most of."""
        own = self.share >= 0.5
        if self.labels.shape.rank == 2:
            own = own[:, None]
        return tf.where(own, self.labels, self.partners)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss of training.

    Attributes:
        loss: Per-example loss.
        class_weights: Factor for the examples of each class; None: 1.
        mixing: Mixes pairs of examples; None: does not.
        copies: How often each example stands in a batch, in a row.
    """

    loss: losses.Loss
    class_weights: Sequence[float] | None = None
    mixing: mixing_lib.Mixing | None = None
    copies: int = 1

    def mix(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        mask: tf.Tensor,
        rows: augment.Rows,
    ) -> tuple[tf.Tensor, Targets]:
        """Returns what the network sees and what it should say.

        A row of mask 0 is mixed into no other.

        Args:
            images: float32 [b, height, width, channels].
            labels: int32 [b] or float32 [b, classes].
            mask: float32 [b].
            rows: Which rows of which global batch these are.
        """
        if self.mixing is None:
            return images, Targets(labels, labels, tf.ones_like(mask))
        others = [
            mixing_lib.partner(v, self.copies) for v in (images, labels, mask)
        ]
        pairs = mixing_lib.Pairs(images, others[0], rows, others[2] > 0)
        mixed, share = self.mixing(pairs)
        return mixed, Targets(labels, others[1], share)

    def __call__(self, targets: Targets, logits: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each example, float32 [b].

        That of a mixed example is the sum over its parts, unless the loss has
        another: for the cross entropy the same as that of the mixed labels.

        Raises:
            ValueError: The loss, or the class weights, are for examples of one
                class.
        """
        if self.mixing is None:
            return self._weigh(targets.labels) * self.loss(
                targets.labels, logits
            )
        parts = (
            (targets.labels, targets.share),
            (targets.partners, 1 - targets.share),
        )
        if self.loss.per_mixed is None:
            return sum(
                share * self._weigh(labels) * self.loss(labels, logits)
                for labels, share in parts
            )
        weight = sum(share * self._weigh(labels) for labels, share in parts)
        return weight * self.loss.per_mixed(
            targets.labels, targets.partners, targets.share, logits
        )

    def _weigh(self, labels: tf.Tensor) -> tf.Tensor | float:
        """Returns the factor of each example, float32 [b], or 1 for all."""
        if self.class_weights is None:
            return 1.0
        if labels.shape.rank != 1:
            raise ValueError(
                "train.class_weights weighs an example by its one class, but "
                "these have labels of several. Leave it unset; the alpha of "
                "@sigmoid_focal_loss() weighs what is there against what is "
                "not."
            )
        return tf.gather(tf.constant(self.class_weights), labels)
