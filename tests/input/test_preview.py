"""input.preview as a user meets it."""

import os
import pathlib
import subprocess
import sys

from tests.conftest import REPO, write_dataset

RECIPE = ["--gin_file=tests/tiny.gin"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "input.preview", *arguments],
        cwd=REPO,
        env=os.environ | {"PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_a_page(tmp_path: pathlib.Path) -> None:
    output = tmp_path / "sheet.html"
    answer = run(
        *RECIPE,
        f"--output={output}",
        "--examples=3",
        "--variants=2",
        "--step=1",
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == f"3 examples, each seen 2 times: {output}\n"
    text = output.read_text()
    assert text.count("<li>") == 3
    assert "Split &#x27;train&#x27; of 96 examples" in text


def test_a_damaged_record(tmp_path: pathlib.Path) -> None:
    write_dataset(tmp_path / "data")
    shard = next((tmp_path / "data").glob("train-00000*"))
    content = bytearray(shard.read_bytes())
    content[40] ^= 1
    shard.write_bytes(content)
    answer = run(
        *RECIPE,
        "--gin_param=SOURCE=@tfrecords()",
        f'--gin_param=tfrecords.data_dir="{tmp_path / "data"}"',
        "--gin_param=train.eval_data=None",
        "--gin_param=train.global_batch_size=4",
        f"--output={tmp_path / 'sheet.png'}",
    )
    assert answer.returncode == 3
    assert shard.name in answer.stderr
    assert "at byte 0" in answer.stderr
    assert "{{" not in answer.stderr
    assert not (tmp_path / "sheet.png").exists()


def test_wrong_use() -> None:
    answer = run(*RECIPE, "--output=sheet.pdf")
    assert answer.returncode == 2
    assert "--output=sheet.pdf must end in .html or .png" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_help() -> None:
    answer = run("--help")
    assert answer.returncode == 0
    for text in ("--output", "--examples", "--gin_file", "preview.html"):
        assert text in answer.stdout
