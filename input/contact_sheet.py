"""Pictures of what a network will see, beside what is stored."""

import base64
import dataclasses
import html
import io
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from input import augment, records, spec, threads
from input import mixing as mixing_lib

# Of the sheet that a run keeps beside its results.
FILE_NAME = "preview.png"
EXAMPLES, VARIANTS = 6, 5

_TILE, _GAP, _HEAD, _NAMES, _CAPTION = 96, 6, 26, 150, 22
_DOTS_PER_INCH = 100
_INK, _PAPER = "#222222", 255
_NAME_LENGTH = 20


@dataclasses.dataclass(frozen=True)
class Example:
    """A picture, as it is and as it is seen.

    Attributes:
        name: Of its class; of multi-label data of all it has, "cat, dog".
        stored: uint8 [height, width, channels], the whole picture.
        seen: uint8 [variants, height, width, channels], after decoding, crop,
            augmentation and mixing, but before normalisation.
        labels: Of each variant where classes are mixed, such as "70 % cat,
            30 % dog"; empty where they are not.
    """

    name: str
    stored: np.ndarray
    seen: np.ndarray
    labels: Sequence[str] = ()


def make(
    data: records.Split,
    augments: Sequence[augment.Augment],
    seed: int,
    *,
    mixing: mixing_lib.Mixing | None = None,
    examples: int = EXAMPLES,
    variants: int = VARIANTS,
    done: Callable[[], None] = lambda: None,
) -> list[Example]:
    """Returns examples of a split, each augmented several times.

    They are the first of shards that are spread over the split, so that
    little has to be read.

    Args:
        data: The split.
        augments: On-device augmentation, in order.
        seed: Of crops and augmentation, any int32.
        mixing: Mixes each example with the next one on the sheet; None: does
            not.
        examples: How many, at least 1; fewer where the split has fewer.
        variants: How often each is augmented, at least 1.
        done: Called after each picture.

    Raises:
        tf.errors.OpError: A record cannot be read.
    """
    with tf.device("CPU:0"):
        pairs = _pairs(data, examples)
        decoded = [
            _decode(data, pairs, variant, seed, done)
            for variant in range(variants)
        ]
        # [variants, examples, height, width, channels]
        seen = [
            _augment(
                tf.stack([example[spec.IMAGE] for example in batch]),
                augments,
                mixing,
                tf.constant([seed, variant], tf.int32),
            )
            for variant, batch in enumerate(decoded)
        ]
        names = [
            _name(data.source.info.class_names, example[spec.LABEL].numpy())
            for example in decoded[0]
        ]
        return [
            Example(
                name,
                _whole(data, record),
                np.stack([pixels[i] for pixels, _ in seen]),
                # Each is mixed with the next one, see _augment.
                [
                    _mixed(name, names[(i + 1) % len(names)], share[i])
                    for _, share in seen
                    if share is not None
                ],
            )
            for i, (name, (_, record)) in enumerate(
                zip(names, pairs, strict=True)
            )
        ]


def _name(class_names: Sequence[str], label: np.ndarray) -> str:
    """Returns the class of an example, or all that it has: "cat, dog"."""
    if not label.ndim:
        return class_names[int(label)]
    return (
        ", ".join(class_names[i] for i in np.flatnonzero(label).tolist())
        or "none"
    )


def _mixed(name: str, partner: str, share: float) -> str:
    own = round(100 * share)
    if own == 100 or name == partner:
        return name
    if own == 0:
        return partner
    return f"{own} % {name}, {100 - own} % {partner}"


def _pairs(data: records.Split, count: int) -> list[tuple[tf.Tensor, ...]]:
    """Returns (index, record) of some examples."""
    shards = data.source.info.shards(data.split)
    chosen = np.unique(
        np.linspace(0, len(shards) - 1, min(count, len(shards))).astype(int)
    )
    found: list[tuple[tf.Tensor, ...]] = []
    for place, number in enumerate(chosen):
        wanted = -(-(count - len(found)) // (len(chosen) - place))
        pairs = records.indexed(data, tf.constant(number, tf.int64))
        found += list(pairs.take(wanted).with_options(threads.options()))
    return found


def _decode(
    data: records.Split,
    pairs: Sequence[tuple[tf.Tensor, ...]],
    variant: int,
    seed: int,
    done: Callable[[], None],
) -> list[dict[str, tf.Tensor]]:
    found = []
    for place, (index, record) in enumerate(pairs):
        key = tf.constant([seed, variant * len(pairs) + place], tf.int32)
        found.append(records.example(data, index, record, key))
        done()
    return found


def _augment(
    images: tf.Tensor,
    augments: Sequence[augment.Augment],
    mixing: mixing_lib.Mixing | None,
    seed: tf.Tensor,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns pixels, and each one's share of its own class if mixed."""
    count, _, _, channels = images.shape
    rows = augment.Rows(seed, tf.constant(0), count, count)
    pixels = augment.preprocess(
        images,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        augments=augments,
        rows=rows,
    )
    share = None
    if mixing is not None:
        partners = tf.roll(pixels, -1, axis=0)
        allowed = tf.fill([count], True)
        pairs = mixing_lib.Pairs(pixels, partners, rows, allowed)
        pixels, part = mixing(pairs)
        share = part.numpy()
    rounded = np.clip(np.round(pixels.numpy()), 0, 255).astype(np.uint8)
    return rounded, share


def _whole(data: records.Split, record: tf.Tensor) -> np.ndarray:
    channels = data.image_shape[2]

    def read_image(encoded: tf.Tensor) -> tf.Tensor:
        return tf.io.decode_image(encoded, channels, expand_animations=False)

    image, _ = data.source.parse(record, read_image, data.image_shape)
    return image.numpy()


def png(examples: Sequence[Example]) -> bytes:
    """Returns the sheet: a row for each example, what is stored first."""
    # Only who draws waits for matplotlib, not each process of a training.
    from matplotlib.backends import backend_agg
    from matplotlib.figure import Figure

    variants = len(examples[0].seen)
    step = _TILE + _GAP
    # Below a picture of mixed classes it says which.
    down_step = step + _CAPTION * any(e.labels for e in examples)
    height = _HEAD + len(examples) * down_step
    width = _NAMES + (variants + 1) * step + _GAP
    canvas = np.full([height, width, 3], _PAPER, np.uint8)
    figure = Figure(
        (width / _DOTS_PER_INCH, height / _DOTS_PER_INCH), _DOTS_PER_INCH
    )

    def write(text: str, left: int, middle: int, size: int = 8) -> None:
        figure.text(
            left / width,
            1 - middle / height,
            text,
            fontsize=size,
            color=_INK,
            verticalalignment="center",
            parse_math=False,
        )

    write("class", _GAP, _HEAD // 2)
    write("as stored", _NAMES, _HEAD // 2)
    write("as the network sees it", _NAMES + step + _GAP, _HEAD // 2)
    for row, example in enumerate(examples):
        top = _HEAD + row * down_step
        write(_short(example.name), _GAP, top + _TILE // 2)
        for column, picture in enumerate([example.stored, *example.seen]):
            # A wider gap after what is stored.
            left = _NAMES + column * step + _GAP * (column > 0)
            tile = _fit(picture)
            high, wide = tile.shape[:2]
            down, across = (_TILE - high) // 2, (_TILE - wide) // 2
            canvas[
                top + down : top + down + high,
                left + across : left + across + wide,
            ] = tile
        for column, label in enumerate(example.labels):
            lines = "\n".join(_short(part) for part in label.split(", "))
            left = _NAMES + (column + 1) * step + _GAP
            write(lines, left, top + _TILE + _CAPTION // 2, size=6)
    figure.figimage(canvas, origin="upper")
    written = io.BytesIO()
    with warnings.catch_warnings():
        # A class whose name needs another font: boxes are better than nothing.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        # Without the version of matplotlib: the same pictures, the same bytes.
        drawn = backend_agg.FigureCanvasAgg(figure)
        drawn.print_png(written, metadata={"Software": None})
    return written.getvalue()


def _fit(picture: np.ndarray) -> np.ndarray:
    """Returns uint8 [h, w, 3], the longer side as long as a tile."""
    height, width = picture.shape[:2]
    scale = _TILE / max(height, width)
    size = [max(1, round(scale * side)) for side in (height, width)]
    # Pixels stay visible where a small picture grows.
    method = "nearest" if scale > 1 else "bilinear"
    resized = tf.image.resize(picture, size, method, antialias=True)
    pixels = np.clip(np.round(resized.numpy()), 0, 255).astype(np.uint8)
    return np.broadcast_to(pixels, (*size, 3))


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"


def page(examples: Sequence[Example], title: str, sheet: bytes) -> str:
    """Returns a page of HTML that holds the sheet, and the names in full.

    Args:
        examples: Of the sheet.
        title: What it shows.
        sheet: What `png` made of them.
    """
    rows = "".join(
        f"<li>{html.escape('; '.join([e.name, *e.labels]))}</li>"
        for e in examples
    )
    high, wide = examples[0].seen.shape[1:3]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title>"
        "<style>body{font:16px sans-serif;margin:2em}img{max-width:100%}"
        "</style></head><body>"
        f"<h1>{html.escape(title)}</h1>"
        f"<p>What is stored, and what the network sees of it: {wide} x {high} "
        "pixels after crop and augmentation, before normalisation.</p>"
        f'<img src="{data_uri(sheet)}" alt="Contact sheet">'
        f"<p>Classes, from the top:</p><ol>{rows}</ol></body></html>\n"
    )


def data_uri(sheet: bytes) -> str:
    """Returns a PNG as an address that needs no other file."""
    return "data:image/png;base64," + base64.b64encode(sheet).decode()
