import io
import pathlib
import re
import subprocess
import sys

import pytest
from PIL import Image

from benchmarks import input_cases
from input import sources
from tests.conftest import REPO


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.input", *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPO,
    )


@pytest.mark.long
def test_prints_ratios_and_memory() -> None:
    done = run(
        "--cases=smoke,smoke_records",
        "--peers=full,torchvision,dali,cat",
        "--rounds=1",
        "--seconds=0",
        "--torch_python=/bin/false",
        "--dali_python=/bin/false",
    )
    assert done.returncode == 0, done.stderr
    for peer in ("full", "cat"):
        title = re.escape(input_cases.TITLES[peer])
        found = re.search(rf"/ {title} \| (\d+\.\d{{3}}) \|", done.stdout)
        assert found and float(found.group(1)) > 0, done.stdout
    for peer in ("torchvision", "dali"):
        title = input_cases.TITLES[peer]
        assert f"| {title} | not installed |  |  |" in done.stdout
    assert "### Resident size" in done.stdout
    assert "| steps | samples | first | last |" in done.stdout


def test_refuses_what_it_does_not_know() -> None:
    done = run("--cases=huge")
    assert done.returncode == 1
    assert "must be some of small, light, large, records" in done.stderr


def test_photos_are_written_twice(tmp_path: pathlib.Path) -> None:
    photos = input_cases.CASES["smoke"].photos
    photos.write(tmp_path)
    source = sources.TFRecords(str(tmp_path / "records"))
    source.check("train")
    assert source.info.examples("train") == photos.total == 16
    files = sorted((tmp_path / "files").glob("*/*.jpg"))
    assert len(files) == 16
    first, second, third = (path.read_bytes() for path in files[:3])
    assert first == third != second
    assert Image.open(io.BytesIO(first)).size == (64, 48)


@pytest.mark.parametrize("name", input_cases.CASES)
def test_cases_name_peers_that_exist(name: str) -> None:
    case = input_cases.CASES[name]
    assert {case.ours, *case.peers} <= input_cases.TITLES.keys()
    assert case.aims.keys() <= set(case.peers)
