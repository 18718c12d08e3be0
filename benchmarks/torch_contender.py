"""The same networks in PyTorch: eager, channels_last, a batch in memory.

    python -m benchmarks.torch_contender CASE

Needs only PyTorch; see --torch_python of benchmarks.step. There is no input
pipeline: every step trains on the same normalised batch.
"""

import os
import sys

import torch
from torch import nn
from torch.nn import functional

from benchmarks import cases, orders


class _PaddedShortcut(nn.Module):
    """Every other pixel; the new channels are zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        added = self.channels - x.shape[1]
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, added))


class _Block(nn.Module):
    """The basic block of He et al. 2015 (arXiv:1512.03385)."""

    def __init__(
        self, before: int, channels: int, stride: int, projection: bool
    ) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *_convolution(before, channels, 3, stride),
            nn.ReLU(inplace=True),
            *_convolution(channels, channels, 3, 1),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != channels:
            self.shortcut = (
                nn.Sequential(*_convolution(before, channels, 1, stride))
                if projection
                else _PaddedShortcut(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.branch(x) + self.shortcut(x), inplace=True)


def _convolution(
    before: int, channels: int, kernel: int, stride: int
) -> list[nn.Module]:
    return [
        nn.Conv2d(before, channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(channels),
    ]


def build(case: cases.Case) -> nn.Module:
    """Returns what models/resnet.py builds for the case."""
    small = case.builder == "small_resnet"
    if small:
        width, blocks = 16, [(case.depth - 2) // 6] * 3
        parts = _convolution(3, width, 3, 1)
        parts.append(nn.ReLU(inplace=True))
    else:
        width, blocks = 64, {18: [2, 2, 2, 2], 34: [3, 4, 6, 3]}[case.depth]
        parts = _convolution(3, width, 7, 2)
        parts += [nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    channels = width
    for stage, count in enumerate(blocks):
        for block in range(count):
            before, channels = channels, width * 2**stage
            stride = 2 if stage and not block else 1
            parts.append(_Block(before, channels, stride, not small))
    return nn.Sequential(
        *parts,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, case.classes),
    )


def main() -> None:
    """Becomes the contender."""
    case = cases.CASES[sys.argv[1]]
    todo = orders.Orders()
    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    layout = torch.channels_last
    model = build(case).to(memory_format=layout).train()
    shape = (case.batch, 3, case.pixels, case.pixels)
    images = torch.randn(shape).to(memory_format=layout)
    labels = torch.randint(0, case.classes, shape[:1])
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=cases.LEARNING_RATE,
        momentum=cases.MOMENTUM,
        nesterov=True,
    )
    criterion = nn.CrossEntropyLoss()

    def take(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            criterion(model(images), labels).backward()
            optimizer.step()

    parameters = sum(p.numel() for p in model.parameters())
    todo.ready(f"PyTorch {torch.__version__}", parameters)
    todo.serve(take)


if __name__ == "__main__":
    main()
