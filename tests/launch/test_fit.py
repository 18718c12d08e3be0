"""A fit finds the numbers that measurements were made of."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from launch import fit, ring
from tests.conftest import REPO

SIZES = (4096, 65536, 1 << 20, 16 << 20)


def made(
    latency: float,
    bandwidth: float,
    overhead: float = 0.0,
    noise: float = 0.0,
    processes: tuple[int, ...] = (2, 3, 4),
) -> list[fit.Measurement]:
    model = fit.Fit(ring.Link(latency, bandwidth), overhead)
    rng = np.random.default_rng(0)
    return [
        fit.Measurement(
            "made", n, size, model.seconds(n, size) * rng.normal(1, noise)
        )
        for n in processes
        for size in SIZES
    ]


def test_finds_all_three_numbers() -> None:
    found = fit.fit(made(2e-4, 3e8, overhead=1e-3))
    assert found.link.latency == pytest.approx(2e-4, rel=1e-6)
    assert found.link.bandwidth == pytest.approx(3e8, rel=1e-6)
    assert found.overhead == pytest.approx(1e-3, rel=1e-6)
    assert np.allclose(found.errors, 0, atol=1e-9)


def test_noise_of_5_percent_moves_them_little() -> None:
    found = fit.fit(made(2e-4, 3e8, noise=0.05))
    assert found.link.latency == pytest.approx(2e-4, rel=0.3)
    assert found.link.bandwidth == pytest.approx(3e8, rel=0.1)
    assert np.abs(found.errors).max() < 0.2


def test_no_term_is_negative() -> None:
    """Times that grow faster than the model allows ask for alpha < 0."""
    measured = [
        fit.Measurement("made", 2, size, size / 1e8 - 2e-5)
        for size in (4096, 65536, 1 << 20)
    ]
    found = fit.fit(measured)
    assert found.link.latency == 0.0
    assert found.overhead == 0.0
    assert found.link.bandwidth > 0


def test_one_length_of_ring_puts_everything_in_alpha() -> None:
    """Overhead and latency cannot be told apart then."""
    found = fit.fit(made(2e-4, 3e8, overhead=1e-3, processes=(2,)))
    assert found.overhead == 0.0
    assert found.link.latency == pytest.approx(2e-4 + 1e-3 / 2)
    assert found.link.bandwidth == pytest.approx(3e8)


def test_one_process_has_nothing_to_add_up() -> None:
    assert fit.Fit(ring.Link(1.0, 1.0), 1.0).seconds(1, 100) == 0.0


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ([], r"0 measurement\(s\)"),
        (made(1e-4, 1e8)[:1], r"1 measurement\(s\)"),
        ([fit.Measurement("x", 1, 8, 1.0)] * 2, r"2 or more processes"),
        ([fit.Measurement("x", 2, 0, 1.0)] * 2, r"do not grow with the size"),
    ],
)
def test_says_what_is_missing(measured, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit.fit(measured)


def command(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launch.fit", *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPO,
    )


def test_command_prints_a_table(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "measured.json"
    items = made(2e-4, 3e8, overhead=1e-3)
    path.write_text(json.dumps([vars(item) for item in items]))
    done = command(f"--measurements={path}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        "| made | 12 | 1,000 | 200 | 0.300 | 0 % | 0 % |"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "--measurements is missing"),
        ("[", "It must be a list of objects"),
        ('[{"n": 2}]', "It must be a list of objects"),
        ("[]", "launch.fit: No measurements"),
    ],
)
def test_command_refuses_bad_files(tmp_path, text, message: str) -> None:
    path = tmp_path / "measured.json"
    if text is not None:
        path.write_text(text)
    done = command(*([f"--measurements={path}"] if text is not None else []))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
