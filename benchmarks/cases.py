"""What is measured: architectures, image sizes, batches, and the aims.

Imports the standard library alone: a peer's interpreter reads it too.
"""

import dataclasses
from collections.abc import Mapping

LEARNING_RATE = 0.01
MOMENTUM = 0.9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One training step to measure.

    Attributes:
        title: For people.
        builder: gin name of the model builder, `small_resnet` or `resnet`.
        depth: Of the ResNet.
        pixels: Height and width of an image.
        batch: Images in a step.
        classes: Outputs of the network.
        aims: Least ratio of images/s to a peer's, by the peer's name.
    """

    title: str
    builder: str
    depth: int
    pixels: int
    batch: int
    classes: int
    aims: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def gin_params(self) -> list[str]:
        """Bindings to add to benchmarks/step.gin."""
        return [
            f"train.model = @{self.builder}",
            f"{self.builder}.depth = {self.depth}",
            f"train.global_batch_size = {self.batch}",
            f"synthetic.image_shape = ({self.pixels}, {self.pixels}, 3)",
            f"synthetic.num_classes = {self.classes}",
        ]


CASES = {
    "resnet20": Case(
        title="ResNet-20, 32 px, batch 128",
        builder="small_resnet",
        depth=20,
        pixels=32,
        batch=128,
        classes=10,
        aims={"torch": 1.15, "fit_no_jit": 1.3, "bare": 0.98},
    ),
    "resnet18": Case(
        title="ResNet-18, 224 px, batch 16",
        builder="resnet",
        depth=18,
        pixels=224,
        batch=16,
        classes=1000,
        aims={"torch": 1.15, "fit_no_jit": 1.1, "bare": 0.98},
    ),
    "smoke": Case(
        title="ResNet-8, 8 px, batch 4: a test of the benchmark itself",
        builder="small_resnet",
        depth=8,
        pixels=8,
        batch=4,
        classes=4,
    ),
}
