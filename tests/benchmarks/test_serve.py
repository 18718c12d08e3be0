"""The benchmark of serving: known times, and small runs."""

import pathlib

from benchmarks import (
    cases,
    serve_clients,
    serve_model,
    serve_soak,
)
from benchmarks import serve_turns as serve


def cells(text: str, start: str) -> list[str]:
    """The cells of the one row that begins so."""
    (row,) = [x for x in text.splitlines() if x.startswith(f"| {start} |")]
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def test_tables() -> None:
    def turns(pictures: float) -> list[serve.Turn]:
        return [serve.Turn(k * pictures, 0.01, 0.02, 1.5) for k in (1, 2, 3)]

    text = serve.report(
        {
            serve.bare(1): turns(100.0),
            serve.bare(32): turns(200.0),
            serve.served(1): turns(80.0),
            serve.served(8): turns(150.0),
            serve.served(32): turns(190.0),
        }
    )
    assert cells(text, "served, clients: 1") == ["160.0", "10.0", "20.0", "1.5"]
    assert cells(text, "served, clients: 1 / model alone, 1 a call") == [
        *("0.800", "0.800..0.800")
    ]
    assert cells(text, "served, clients: 32 / model alone, 32 a call") == [
        *("0.950", "0.950..0.950")
    ]


def test_what_counts_as_an_error_of_ours() -> None:
    counts = {
        ("good", 200): 10,
        ("good", 503): 3,
        ("good", 500): 1,
        ("good", 0): 2,
        ("bad", 400): 5,
        ("client leaves", 0): 7,
    }
    # 60 MB in 30 s after a start that does not count.
    memory = [(0.0, 1e8), *((10.0 + s, 5e8 + 2e6 * s) for s in range(31))]
    text = serve_soak.summary(counts, memory)
    assert "28 requests, errors of ours: 3" in text
    assert "+120.00 MB a minute" in text


def test_a_small_run_and_soak(tmp_path: pathlib.Path) -> None:
    pictures = serve.jpegs()[:3]
    version = serve_model.export(tmp_path, cases.CASES["smoke"])
    with serve_clients.running(str(version), "--batch_sizes=1,8") as server:
        measured = serve.measure(
            server, str(version), pictures, rounds=1, requests=32
        )
        text = serve.report(measured)
        for name in ("model alone, 32 a call", "served, clients: 8"):
            assert all(float(x.replace(",", "")) > 0 for x in cells(text, name))
        text = serve_soak.soak(server, pictures, seconds=3)
    assert "errors of ours: 0" in text
    assert "MB a minute" in text
    for kind, status in (
        ("good", "200"),
        ("bomb", "400"),
        ("10,000 pictures", "413"),
    ):
        assert f"| {kind} | {status} |" in text
