"""The predictions of docs/scaling.md are those of the model."""

import pytest

from benchmarks import projection
from tests.conftest import REPO


def test_document_shows_the_tables() -> None:
    text = (REPO / "docs" / "scaling.md").read_text()
    for table in (
        projection.scaling(projection.MIXED),
        projection.scaling(projection.TF32),
        projection.comparison(),
    ):
        assert table in text, "paste `python -m benchmarks.projection`"


def test_more_network_more_overlap_fewer_bytes_never_hurt() -> None:
    plain, narrow, overlapped = projection.VARIANTS
    for count in projection.COUNTS:
        found = [
            projection.efficiency(projection.MIXED, count, speed, plain)
            for speed in projection.SPEEDS
        ]
        assert found == sorted(found)
        for variant in (narrow, overlapped):
            better = projection.efficiency(projection.MIXED, count, 25, variant)
            assert better > found[0]


@pytest.mark.parametrize(
    "known", projection.PUBLISHED, ids=lambda known: known.title
)
def test_published_numbers_between_hosts_lie_in_the_bounds(known) -> None:
    """Inside one host the model sees no cost: something else is lost there."""
    plain, _, overlapped = projection.VARIANTS
    low, high = known.predicted(plain), known.predicted(overlapped)
    assert low < high
    if known.count > known.cluster.per_host:
        assert low < known.efficiency < high
    else:
        assert known.efficiency < low


def test_picture_is_reproducible(tmp_path) -> None:
    projection.draw(str(tmp_path / "a.svg"))
    projection.draw(str(tmp_path / "b.svg"))
    first = (tmp_path / "a.svg").read_bytes()
    assert first == (tmp_path / "b.svg").read_bytes()
    assert b"1024" in first or b"1,024" in first
