"""Whether a build for GPUs can be made; none has been made here."""

import pathlib
import re

import pytest
import tensorflow as tf

from launch import horovod_gpu


def make_cuda(root: pathlib.Path, version: str = "12.5") -> pathlib.Path:
    """A toolkit as far as it is looked at."""
    (root / "bin").mkdir(parents=True)
    (root / "include").mkdir()
    (root / "include" / "cuda_runtime.h").touch()
    compiler = root / "bin" / "nvcc"
    compiler.write_text(f"#!/bin/sh\necho Cuda, release {version}, V1\n")
    compiler.chmod(0o755)
    return root


def make_nccl(root: pathlib.Path, folder: str = "lib") -> pathlib.Path:
    for name in ("include", folder):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "include" / "nccl.h").touch()
    (root / folder / "libnccl.so").touch()
    return root


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(horovod_gpu, "_CUDA_HOME", "/nowhere")
    monkeypatch.setattr(horovod_gpu, "_SYSTEM_FOLDERS", ("/nowhere",))
    monkeypatch.setattr(horovod_gpu, "_cuda_of_tensorflow", lambda: "12")


@pytest.mark.parametrize("folder", horovod_gpu._LIBRARY_FOLDERS)
def test_all_is_there(folder: str, tmp_path: pathlib.Path) -> None:
    cuda = make_cuda(tmp_path / "cuda")
    nccl = make_nccl(tmp_path / "nccl", folder)
    homes = {"HOROVOD_CUDA_HOME": str(cuda), "HOROVOD_NCCL_HOME": str(nccl)}
    assert horovod_gpu.find(homes) == horovod_gpu.Gpu("", homes)


def test_a_toolkit_in_path_with_nccl_in_it(tmp_path: pathlib.Path) -> None:
    cuda = make_nccl(make_cuda(tmp_path))
    found = horovod_gpu.find({"PATH": f"{cuda}/bin"})
    assert found.variables["HOROVOD_CUDA_HOME"] == str(cuda)
    assert found.variables["HOROVOD_NCCL_HOME"] == str(cuda)


@pytest.mark.parametrize(
    ("cuda", "nccl", "lacks"),
    [
        (None, True, "no CUDA toolkit in HOROVOD_CUDA_HOME"),
        ("12.5", False, r"no nccl\.h with a libnccl\.so"),
        ("13.0", True, "is CUDA 13, but TensorFlow is built for CUDA 12"),
        ("none", True, "is CUDA None, but"),
    ],
)
def test_what_is_missing_is_said(cuda, nccl, lacks, tmp_path) -> None:
    homes = {"HOROVOD_NCCL_HOME": str(tmp_path / "nccl")}
    if cuda:
        homes["CUDA_HOME"] = str(make_cuda(tmp_path / "cuda", cuda))
    if nccl:
        make_nccl(tmp_path / "nccl")
    found = horovod_gpu.find(homes)
    assert re.search(lacks, found.lacks)
    assert not found.variables


def test_tensorflows_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    info = tf.sysconfig.get_build_info()
    expected = info.get("cuda_version", "").partition(".")[0] or None
    assert horovod_gpu._cuda_of_tensorflow() == expected
