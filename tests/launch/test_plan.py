"""Plans: tables from known facts, and the command end to end."""

import re
import subprocess
import sys

import pytest

from launch import dry_run, forecast, ring, usage
from tests.conftest import REPO

FACTS = {
    "model": "net",
    "parameters": 250_000,
    "gradient_bytes": 1_000_000,
    "flops_per_image_step": 2_000_000_000,
    "global_batch_size": 64,
    "gradient_compression": "none",
    "train_examples": 6400,
    "total_steps": 1000,
}
CLUSTER = ring.Cluster(
    per_host=1,
    network=ring.Link(1e-3, 1e6),
    interconnect=ring.Link(0.0, 1e9),
)


def training(**changes) -> forecast.Training:
    known = {
        "facts": FACTS,
        "rows": 8,
        "compute": 0.9,
        "compute_source": "measured",
    }
    return forecast.Training(**known | changes)


def row(text: str) -> list[str]:
    return [cell.strip() for cell in text.strip("|").split("|")]


def test_table_of_known_numbers() -> None:
    lines = forecast.table(training(), [1, 2], CLUSTER).splitlines()
    assert row(lines[0])[0] == "accelerators"
    # 64,000 images: 8,000 steps of 8, 4,000 of 16.
    assert row(lines[2]) == (
        ["1", "8", "900.0", "0.0", "0.0", "100.0 %", "9", "8,000", "2.000"]
    )
    assert row(lines[3]) == (
        ["2", "16", "900.0", "1,002.0", "1,002.0", "47.3 %", "8", "4,000"]
        + ["2.113"]
    )


def test_compression_and_overlap_show() -> None:
    chosen = training(compression="float16", overlap=0.5)
    cells = row(forecast.table(chosen, [2], CLUSTER).splitlines()[2])
    assert cells[3:5] == ["502.0", "202.0"]
    assert "compression float16" in forecast.describe(chosen)


def test_description_names_the_assumptions() -> None:
    text = forecast.describe(training())
    for part in (
        "net, 250,000 parameters: 1.0 MB",
        "2.00 GFLOPs an image",
        "64,000 images in all, 10.0 epochs; 8 a step",
        "compute: measured",
        "not counted",
    ):
        assert part in text
    assert "1000 us between hosts" in forecast.describe_cluster(CLUSTER)


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launch.plan", *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPO,
    )


GOOD = ("--accelerators=2,8", "--network_gbps=10,40", "--tflops=1")
RECIPE = "--gin_file=tests/tiny.gin"


def test_command_plans_a_gin_file() -> None:
    # An engine that could not start here does not get in the way.
    done = run(RECIPE, *GOOD, '--gin_param=make_engine.name="horovod"')
    assert done.returncode == 0, done.stderr
    assert "### 10 Gbit/s a host" in done.stdout
    assert "### 40 Gbit/s a host" in done.stdout
    tables = re.findall(r"^\| 8 \|.*$", done.stdout, re.MULTILINE)
    assert len(tables) == 2
    # 16 rows on 2 accelerators: 8 on each; 20 steps of 16 rows in all.
    assert row(tables[0])[1] == "64"
    assert row(tables[0])[7] == "5"


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ((), 2, "--gin_file is missing"),
        ((RECIPE,), 2, "--seconds_per_step, measured, or as --tflops"),
        (
            (RECIPE, *GOOD, "--seconds_per_step=1"),
            2,
            "--seconds_per_step, measured, or as --tflops",
        ),
        ((RECIPE, "--tflops=1"), 2, "--accelerators= must be whole numbers"),
        (
            (RECIPE, *GOOD, "--accelerators=8,x"),
            2,
            "--accelerators=8,x must be whole numbers",
        ),
        (
            (RECIPE, *GOOD, "--network_gbps=0"),
            2,
            "--network_gbps=0 must be numbers above 0",
        ),
        (
            (RECIPE, *GOOD, "--accelerators=12"),
            2,
            "12 accelerators do not fill hosts of 8",
        ),
        ((RECIPE, *GOOD, "--tflops=-1"), 2, "--tflops=-1 must be above 0"),
        ((RECIPE, *GOOD, "--overlap=2"), 2, "--overlap=2 must be from 0 to 1"),
        ((RECIPE, *GOOD, "--compression=zip"), 2, "compression"),
        ((RECIPE, *GOOD, "more"), 2, "'more' is not a flag"),
    ],
)
def test_command_refuses(flags, code: int, message: str) -> None:
    done = run(*flags)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--gin_file=gin/none.gin",), 2, "gin/none.gin: no such file"),
        (
            ("--gin_file=gin/digits.gin", '--gin_param=DATA_DIR="/none"'),
            3,
            "/none",
        ),
        (
            (RECIPE, "--gin_param=train.global_batch_size=15"),
            2,
            "train.global_batch_size=15 cannot be divided among 2",
        ),
    ],
)
def test_command_passes_on_mistakes_in_the_recipe(
    flags, code: int, message: str
) -> None:
    done = run(*flags, *GOOD)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def made(**changes) -> forecast.Training:
    known = {
        "fewest": 2,
        "rows": None,
        "speed": 0.25,
        "compression": None,
        "overlap": 0.0,
    }
    return forecast.make_training(FACTS, **known | changes)


def test_measured_time_is_taken_as_it_is() -> None:
    assert (made().rows, made().compute) == (32, 0.25)


def test_compression_is_that_of_the_gin_file_unless_given() -> None:
    narrow = FACTS | {"gradient_compression": "bfloat16"}
    known = {"fewest": 2, "rows": None, "speed": 0.25, "overlap": 0.0}
    for given, expected in ((None, "bfloat16"), ("none", "none")):
        found = forecast.make_training(narrow, compression=given, **known)
        assert found.compression == expected


def test_time_from_operations() -> None:
    # 5 images of 2 GFLOPs at 5 TFLOPS.
    found = made(rows=5, speed=forecast.Peak(10.0, 0.5))
    assert found.rows == 5
    assert found.compute == pytest.approx(2e-3)
    assert found.compute_source == "0.5 of 10 TFLOPS"


def test_a_network_of_unknown_layers_needs_a_measurement() -> None:
    unknown = FACTS | {"flops_per_image_step": 0}
    with pytest.raises(usage.UsageError, match="give --seconds_per_step"):
        forecast.make_training(
            unknown,
            fewest=1,
            rows=1,
            speed=forecast.Peak(1.0, 1.0),
            compression=None,
            overlap=0.0,
        )


def test_a_crash_of_the_dry_run_is_shown_in_full() -> None:
    done = subprocess.CompletedProcess(["x"], 1, "", "error: lost\nboom")
    found = dry_run.failure(done)
    assert isinstance(found, RuntimeError) and "boom" in str(found)
    done = subprocess.CompletedProcess(["x"], 3, "", "hm\nerror: no data\n")
    found = dry_run.failure(done)
    assert isinstance(found, dry_run.RecipeError)
    assert (str(found), found.code) == ("no data", 3)
