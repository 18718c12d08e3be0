"""Pictures that are there more than once, exactly or nearly.

Exact copies have equal digests of their pixels. Near copies, such as a picture
saved again, made smaller or brighter, have nearly equal difference hashes: 128
bits that say where the picture gets brighter from one cell of a 9x9 grid to the
next, to the right and downwards.

Finding the near ones compares few of all pairs. If two hashes differ in at most
d bits, and the bits are dealt into d + 1 bands, one band has no difference
(Norouzi et al. 2012, "Fast Search in Hamming Space with Multi-Index Hashing",
arXiv:1307.2982): sorting by each band brings such pairs together.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator

import numpy as np

BITS = 128

_GRID = 9
# Grey levels. What JPEG does to an even area stays below it.
_NOISE = 1.0
# Fewer places than this where the brightness changes: as good as a blank page,
# which looks like any other.
_LEAST_CHANGES = 16
# Members of a bucket that one is compared with. A million photos have few
# buckets that hold more; drawings on white paper have many.
_NEIGHBOURS = 256
_BUFFERED_PAIRS = 1 << 20


@dataclasses.dataclass(frozen=True)
class Groups:
    """Sets of examples that belong together, each of at least two.

    Attributes:
        members: int64, numbers of the examples, group by group, ascending in
            each.
        starts: int64, where in `members` each group begins; one more at the
            end.
    """

    members: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        for start, end in itertools.pairwise(self.starts):
            yield self.members[start:end]


def digest(data: bytes | np.ndarray) -> bytes:
    """Returns 16 bytes that only equal data share; of pixels, also the shape.

    Source: Aumasson et al. 2013, "BLAKE2: simpler, smaller, fast as MD5".
    """
    made = hashlib.blake2b(digest_size=16)
    if isinstance(data, np.ndarray):
        made.update(repr(data.shape).encode())
        made.update(np.ascontiguousarray(data).data)
    else:
        made.update(data)
    return made.digest()


def look(image: np.ndarray) -> tuple[np.ndarray, bool]:
    """Returns the difference hash of a picture.

    Args:
        image: uint8 [H, W, C].

    Returns:
        uint64 [2], and whether there is enough in the picture to compare it.
    """
    cells = _cells(image)  # [9, 9]
    right = cells[:-1, 1:] - cells[:-1, :-1]  # [8, 8]
    down = cells[1:, :-1] - cells[:-1, :-1]  # [8, 8]
    steps = np.concatenate([right.ravel(), down.ravel()])  # [128]
    changes = int((np.abs(steps) > _NOISE).sum())
    packed = np.packbits(steps > _NOISE).view(np.uint64)
    return packed, changes >= _LEAST_CHANGES


def _cells(image: np.ndarray) -> np.ndarray:
    """Returns the mean brightness of 9x9 parts: uint8 [H, W, C] to float."""
    height, width, channels = image.shape
    tops = np.arange(_GRID) * height // _GRID
    lefts = np.arange(_GRID) * width // _GRID
    values = image.reshape(height, width * channels)
    # A row of cells at a time: the sums of a whole photo would take four times
    # its memory. In a picture of fewer than 9 rows, cells share them.
    rows = np.stack(
        [
            values[top : max(end, top + 1)].sum(0, np.uint32)
            for top, end in zip(tops, [*tops[1:], height], strict=True)
        ]
    )
    columns = rows.reshape(_GRID, width, channels).sum(2)  # [9, W]
    sums = np.add.reduceat(columns, lefts, axis=1)  # [9, 9]
    heights = np.maximum(np.diff([*tops, height]), 1)
    widths = np.maximum(np.diff([*lefts, width]), 1)
    return sums / (heights[:, np.newaxis] * widths * channels)


def exact(digests: np.ndarray) -> Groups:
    """Returns the examples with equal digests.

    Args:
        digests: uint64 [N, 2].
    """
    order, first = _sorted_runs(digests)
    return _groups(order, np.cumsum(first))


def near(looks: np.ndarray, candidates: np.ndarray, distance: int) -> Groups:
    """Returns the examples whose difference hashes are nearly equal.

    Those in a group are linked: each is near to some other, not to all. Where
    more than 256 hashes agree in a band, each is compared with its neighbours
    in one order for each band, and a pair may be missed; else none is. Beyond
    a few arrays as long as `looks`, the search takes memory for a million
    pairs.

    Args:
        looks: uint64 [N, 2], hashes of all examples.
        candidates: int64, numbers of those to compare, ascending.
        distance: Bits of 128 that may differ, at least 0.
    """
    chosen = looks[candidates]
    order, first = _sorted_runs(chosen)
    # Equal hashes are one from here on: a thousand of them would be half a
    # million pairs.
    of_unique = np.cumsum(first) - 1
    unique = np.ascontiguousarray(chosen[order[first]])
    search = _Search(unique, distance)
    search.run()
    return _groups(candidates[order], search.roots()[of_unique])


def _sorted_runs(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorts uint64 [N, 2].

    Returns:
        The order, and whether each sorted row differs from the one before.
    """
    order = np.lexsort((words[:, 1], words[:, 0]))
    rows = words[order]
    first = np.ones(len(rows), bool)
    first[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return order, first


def _groups(members: np.ndarray, keys: np.ndarray) -> Groups:
    """Returns those with equal keys, by the first member of each group."""
    _, inverse, counts = np.unique(
        keys, return_inverse=True, return_counts=True
    )
    inverse = inverse.reshape(-1)
    several = counts[inverse] > 1
    members, inverse = members[several], inverse[several]
    least = np.full(len(counts), np.iinfo(np.int64).max)
    np.minimum.at(least, inverse, members)
    order = np.lexsort((members, least[inverse]))
    members, firsts = members[order], least[inverse][order]
    changes = np.flatnonzero(np.diff(firsts)) + 1
    bounds = [0, *changes, len(members)] if len(members) else [0]
    return Groups(members.astype(np.int64), np.array(bounds, np.int64))


class _Search:
    """Links hashes that differ in a few bits; all hashes are different."""

    def __init__(self, hashes: np.ndarray, distance: int) -> None:
        self._hashes = hashes
        self._distance = distance
        self._parents = np.arange(len(hashes))
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []
        self._buffered = 0

    def run(self) -> None:
        """Finds the pairs that are near."""
        bands = self._distance + 1
        if self._distance:
            # Every so many bits: those side by side are much alike, and would
            # put half of all pictures into one bucket.
            keys = self._keys(np.arange(0, BITS, bands))
            for i in range(bands):
                following = self._keys(np.arange((i + 1) % bands, BITS, bands))
                self._compare(keys, following)
                keys = following
        self._link()

    def roots(self) -> np.ndarray:
        """Returns for each hash the least one that it is linked to."""
        return self._parents

    def _keys(self, positions: np.ndarray) -> np.ndarray:
        """Returns some bits of each hash, as uint64."""
        keys = np.zeros(len(self._hashes), np.uint64)
        # Of a band of more than 64 bits, the first leave: the buckets become
        # larger, and nothing is missed.
        for position in positions:
            word, bit = divmod(int(position), 64)
            bits = self._hashes[:, word] >> np.uint64(bit)
            keys = keys << np.uint64(1) | (bits & np.uint64(1))
        return keys

    def _compare(self, keys: np.ndarray, following: np.ndarray) -> None:
        """Notes the near pairs among hashes with equal keys.

        Args:
            keys: uint64, a band of each hash.
            following: The next band, in the order of which those of a bucket
                are put: of a crowded one, only neighbours are compared.
        """
        hashes = self._hashes
        members = np.lexsort((hashes[:, 1], hashes[:, 0], following, keys))
        keys = keys[members]
        # In this order the words of a bucket lie side by side in memory.
        words = hashes[members].T.copy()  # [2, members]
        left = np.arange(len(members))
        for lag in range(1, _NEIGHBOURS + 1):
            left = left[: np.searchsorted(left, len(members) - lag)]
            left = left[keys[left] == keys[left + lag]]
            if not len(left):
                break
            close, apart = left, np.zeros(len(left), np.int64)
            for word in words:
                apart += _bit_count(word[close] ^ word[close + lag])
                near = apart <= self._distance
                close, apart = close[near], apart[near]
            if len(close):
                self._pairs.append((members[close], members[close + lag]))
                self._buffered += len(close)
                if self._buffered > _BUFFERED_PAIRS:
                    self._link()

    def _link(self) -> None:
        """Puts the noted pairs into the same groups."""
        parents = self._parents
        if self._pairs:
            a, b = (
                np.concatenate(ends) for ends in zip(*self._pairs, strict=True)
            )
            while len(a):
                roots = np.stack([parents[a], parents[b]])
                apart = roots[0] != roots[1]
                a, b, roots = a[apart], b[apart], roots[:, apart]
                np.minimum.at(parents, roots.max(0), roots.min(0))
                while (parents[parents] != parents).any():
                    parents[:] = parents[parents]
        self._pairs, self._buffered = [], 0


def _bit_count(words: np.ndarray) -> np.ndarray:
    """Returns how many bits of each uint64 are set.

    numpy has this from 2.0 on only. Source: Warren 2012, "Hacker's Delight",
    section 5-1.
    """
    one, two, four = np.uint64(1), np.uint64(2), np.uint64(4)
    pairs = words - (words >> one & np.uint64(0x5555555555555555))
    mask = np.uint64(0x3333333333333333)
    nibbles = (pairs & mask) + (pairs >> two & mask)
    sums = nibbles + (nibbles >> four) & np.uint64(0x0F0F0F0F0F0F0F0F)
    # uint64 wraps around: the highest byte is the sum of all.
    total = sums * np.uint64(0x0101010101010101) >> np.uint64(56)
    return total.astype(np.int64)
