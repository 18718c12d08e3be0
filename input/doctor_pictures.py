"""A page that shows pictures which are there more than once."""

from __future__ import annotations

import base64
import html
import itertools

import numpy as np
import tensorflow as tf

from input import duplicates, examine, findings, image_check, subject

_SETS = 50
_MEMBERS = 6
_PIXELS = 160

_STYLE = """
body { font: 14px sans-serif; margin: 2em; }
section { display: flex; flex-wrap: wrap; border-top: 1px solid #ccc; }
figure { margin: 0.5em; width: 180px; overflow-wrap: anywhere; }
img { max-width: 160px; min-width: 64px; image-rendering: pixelated; }
figcaption { font-size: 12px; }
"""


def page(
    of: subject.Subject, found: examine.Examination, copies: findings.Copies
) -> str:
    """Returns one HTML file, pictures included: 50 sets of each kind."""
    parts = [
        "<!DOCTYPE html><meta charset='utf-8'>",
        f"<title>{html.escape(of.directory)}</title><style>{_STYLE}</style>",
    ]
    for title, groups in (
        ("Exact copies", copies.exact),
        ("Pictures that look alike", copies.near),
    ):
        parts.append(f"<h1>{title}: {len(groups):,} sets</h1>")
        parts += _sets(of, found, groups)
    return "\n".join(parts)


def _sets(
    of: subject.Subject, found: examine.Examination, groups: duplicates.Groups
) -> list[str]:
    sections = []
    for group in itertools.islice(groups, _SETS):
        figures = [_figure(of, found, i) for i in group[:_MEMBERS]]
        if len(group) > _MEMBERS:
            figures.append(f"<p>and {len(group) - _MEMBERS:,} more</p>")
        sections.append(f"<section>{''.join(figures)}</section>")
    return sections


def _figure(
    of: subject.Subject, found: examine.Examination, example: int
) -> str:
    split = found.files[found.table.file[example]].split
    caption = f"{split}: {findings.name(of, found, example)}"
    encoded = base64.b64encode(_thumbnail(findings.read(of, found, example)[0]))
    return (
        f"<figure><img src='data:image/png;base64,{encoded.decode()}'>"
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _thumbnail(encoded: bytes) -> bytes:
    """Returns a PNG of at most 160 pixels a side; b"" if it has changed."""
    try:
        image = image_check.decode(encoded)
    except image_check.UnreadableImageError:
        return b""
    scale = min(1.0, _PIXELS / max(image.shape[:2]))
    size = np.maximum(np.round(np.multiply(image.shape[:2], scale)), 1)
    small = tf.image.resize(image, size.astype(np.int32), antialias=True)
    pixels = tf.cast(tf.round(small), tf.uint8)
    return bytes(tf.io.encode_png(pixels).numpy())
