"""The same photos through NVIDIA DALI on the CPU.

    python -m benchmarks.dali_contender FOLDER BATCH

Needs DALI; see --dali_python of benchmarks.input. Decodes only the crop, and
makes batches of uint8, as Lockstep does, in a thread for each core.
"""

import os
import sys
from typing import Any

from nvidia import dali

from benchmarks import orders

_SIZE = 224


@dali.pipeline_def
def _photos(folder: str) -> tuple[Any, Any]:
    """Random crop, resize over all pixels, flip."""
    files, labels = dali.fn.readers.file(file_root=folder, random_shuffle=True)
    images = dali.fn.decoders.image_random_crop(
        files,
        device="cpu",
        random_area=[0.08, 1.0],
        random_aspect_ratio=[3 / 4, 4 / 3],
    )
    images = dali.fn.resize(images, resize_x=_SIZE, resize_y=_SIZE)
    mirror = dali.fn.random.coin_flip()
    return dali.fn.flip(images, horizontal=mirror), labels


def main() -> None:
    """Becomes the contender."""
    folder, batch = sys.argv[1:]
    todo = orders.Orders()
    pipeline = _photos(
        os.path.join(folder, "files"),
        batch_size=int(batch),
        num_threads=len(os.sched_getaffinity(0)),
        device_id=None,
    )
    pipeline.build()

    def take(steps: int) -> None:
        for _ in range(steps):
            pipeline.run()

    todo.ready(f"DALI {dali.__version__}", 0)
    todo.serve(take)


if __name__ == "__main__":
    main()
