"""The same photos through torchvision: ImageFolder, PIL and a DataLoader.

    python -m benchmarks.torchvision_contender FOLDER BATCH

Needs PyTorch and torchvision; see --torch_python of benchmarks.input. Makes
batches of uint8, as Lockstep does, in as many processes as there are cores.
"""

import os
import sys
from collections.abc import Iterator
from typing import Any

import torchvision
from torch.utils import data
from torchvision import datasets, transforms

from benchmarks import orders

_SIZE = 224


def main() -> None:
    """Becomes the contender."""
    folder, batch = sys.argv[1:]
    todo = orders.Orders()
    photos = datasets.ImageFolder(
        os.path.join(folder, "files"),
        transforms.Compose(
            [
                transforms.RandomResizedCrop(_SIZE),
                transforms.RandomHorizontalFlip(),
                transforms.PILToTensor(),
            ]
        ),
    )
    loader = data.DataLoader(
        photos,
        batch_size=int(batch),
        shuffle=True,
        num_workers=len(os.sched_getaffinity(0)),
        drop_last=True,
        persistent_workers=True,
    )

    def endless() -> Iterator[Any]:
        while True:
            yield from loader

    batches = endless()

    def take(steps: int) -> None:
        for _ in range(steps):
            next(batches)

    todo.ready(f"torchvision {torchvision.__version__}", 0)
    todo.serve(take)


if __name__ == "__main__":
    main()
