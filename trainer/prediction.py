"""Classifies pictures in batches, decoding the next ones meanwhile."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from input import decode, transcode
from input.progress import progress
from trainer import artefact_info, predict_output, predict_pictures

# Batches of decoded pictures that wait for the network.
_AHEAD = 3


@dataclasses.dataclass(frozen=True)
class Model:
    """What predicts.

    Attributes:
        info: What is known of it.
        decoder: Makes its pixels of a picture's bytes.
        infer: From uint8 [b, H, W, C] to probabilities, float32 [b, classes].
    """

    info: artefact_info.Info
    decoder: decode.Decoder
    infer: Callable[[np.ndarray], np.ndarray]


def predict(
    model: Model,
    pictures: Sequence[str],
    rows: predict_output.Rows,
    batch_size: int,
    max_pixels: int = transcode.MAX_PIXELS,
) -> int:
    """Writes a row for each picture; returns how many could not be read."""
    shape = model.info.image_shape
    reader = predict_pictures.Reader(model.decoder, shape, max_pixels)
    ahead = _AHEAD * batch_size
    bad = 0
    batch: list[tuple[str, np.ndarray | str]] = []

    def flush() -> None:
        nonlocal bad
        images = [seen for _, seen in batch if not isinstance(seen, str)]
        found = iter(model.infer(np.stack(images)) if images else ())
        for path, seen in batch:
            if isinstance(seen, str):
                bad += 1
                rows.add_error(path, seen)
            else:
                rows.add(path, next(found))
        batch.clear()

    with progress(len(pictures), "pictures") as done:
        for item in predict_pictures.read(pictures, reader, ahead):
            batch.append(item)
            done()
            if len(batch) == batch_size:
                flush()
        flush()
    return bad
