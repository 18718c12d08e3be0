"""Weights of PyTorch, read without PyTorch."""

import collections
import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

from models import torch_file

_MAGIC = 0x1950A86A20F9469CFC6C


class _Name:
    """A global of PyTorch in a pickle, where there is no PyTorch."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class _Writer(pickle._Pickler):
    """Pickles as torch.save does: tensors by their storages."""

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, _Name):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, _Tensor):
            self.save(_Name("torch._utils", "_rebuild_tensor_v2"))
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, _Storage) else None


class _Storage:
    def __init__(self, key, elements, kind="FloatStorage", view=()):
        storage = _Name("torch", kind)
        self.pid = ("storage", storage, key, "cpu", elements, *view)


class _Tensor:
    def __init__(self, storage, first, shape, strides):
        hooks = collections.OrderedDict()
        self.arguments = (storage, first, shape, strides, False, hooks)


def _pickled(thing) -> bytes:
    stream = io.BytesIO()
    _Writer(stream, protocol=2).dump(thing)
    return stream.getvalue()


def _archive(path, thing, data: bytes = b"", **changes) -> str:
    compression = changes.get("compression", zipfile.ZIP_STORED)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("weights/data.pkl", _pickled(thing))
        archive.writestr("weights/data/0", data)
    return str(path)


NUMBERS = np.arange(12, dtype=np.float32)


def test_an_archive_gives_its_tensors_as_they_lie(tmp_path) -> None:
    storage = _Storage("0", 12)
    named = collections.OrderedDict(
        {
            "module.rows": _Tensor(storage, 0, (3, 4), (4, 1)),
            "module.columns": _Tensor(storage, 2, (2, 3), (1, 2)),
            "module.one": _Tensor(storage, 11, (), ()),
        }
    )
    path = _archive(
        tmp_path / "a.pth", {"state_dict": named}, NUMBERS.tobytes()
    )
    found = torch_file.read(path)
    assert list(found) == ["rows", "columns", "one"]
    np.testing.assert_array_equal(found["rows"], NUMBERS.reshape(3, 4))
    np.testing.assert_array_equal(found["columns"], [[2, 4, 6], [3, 5, 7]])
    assert found["one"] == 11


def test_the_layout_of_old_versions_is_read(tmp_path) -> None:
    half = np.array([1.5, -2], np.float16)
    thing = {
        "a": _Tensor(_Storage("x", 12, view=(None,)), 0, (12,), (1,)),
        "b": _Tensor(_Storage("y", 2, "HalfStorage", (None,)), 0, (2,), (1,)),
    }
    parts = [_MAGIC, 1001, {"little_endian": True}, thing, ["x", "y"]]
    content = b"".join(map(_pickled, parts))
    content += struct.pack("<q", 12) + NUMBERS.tobytes()
    content += struct.pack("<q", 2) + half.tobytes()
    (tmp_path / "old.pth").write_bytes(content)
    found = torch_file.read(str(tmp_path / "old.pth"))
    np.testing.assert_array_equal(found["a"], NUMBERS)
    np.testing.assert_array_equal(found["b"], half)
    (tmp_path / "cut.pth").write_bytes(content[:-1])
    with pytest.raises(torch_file.NotWeights, match="cut off: 'b' has 3 bytes"):
        torch_file.read(str(tmp_path / "cut.pth"))


class _Harm:
    def __init__(self, what):
        self.what = what

    def __reduce__(self):
        return exec, (self.what,)


def test_nothing_but_tensors_is_called(tmp_path) -> None:
    witness = tmp_path / "harm"
    for name in ("a.pth", "b.pth"):
        path = tmp_path / name
        harm = _Harm(f"open({str(witness)!r}, 'w')")
        if name == "a.pth":
            _archive(path, {"a": harm})
        else:
            path.write_bytes(b"".join(map(_pickled, [_MAGIC, 1001, harm])))
        with pytest.raises(torch_file.NotWeights, match=r"names \S+\.exec"):
            torch_file.read(str(path))
    assert not witness.exists()


@pytest.mark.parametrize(
    ("shape", "strides", "first"),
    [((10**6, 10**6), (0, 0), 0), ((12,), (1,), 1), ((2,), (-1,), 1)],
)
def test_a_tensor_beyond_its_storage_is_refused(
    tmp_path, shape, strides, first
) -> None:
    tensor = _Tensor(_Storage("0", 12), first, shape, strides)
    path = _archive(tmp_path / "a.pth", {"a": tensor}, NUMBERS.tobytes())
    with pytest.raises(torch_file.NotWeights, match="not within its storage"):
        torch_file.read(path)


def test_views_may_not_multiply_what_is_there(tmp_path) -> None:
    tensor = _Tensor(_Storage("0", 12), 0, (4, 3), (1, 4))
    path = tmp_path / "a.pth"
    tied = {str(i): tensor for i in range(4)}
    found = torch_file.read(_archive(path, tied, NUMBERS.tobytes()))
    assert found["3"].shape == (4, 3)
    path = _archive(path, tied | {"5": tensor}, NUMBERS.tobytes())
    with pytest.raises(torch_file.NotWeights, match="more than 4 times over"):
        torch_file.read(path)


def test_what_is_packed_small_is_not_unpacked(tmp_path) -> None:
    path = _archive(
        tmp_path / "bomb.pth",
        {},
        bytes(10**7),
        compression=zipfile.ZIP_DEFLATED,
    )
    with pytest.raises(torch_file.NotWeights, match="compresses nothing"):
        torch_file.read(path)


@pytest.mark.parametrize(
    "thing", [{"a": 1}, [1], {"model": {}}, _Name("torch.nn", "Linear")]
)
def test_other_things_are_refused_with_what_to_save(tmp_path, thing) -> None:
    path = _archive(tmp_path / "a.pth", thing)
    with pytest.raises(torch_file.NotWeights, match=r"model\.state_dict\(\)"):
        torch_file.read(path)


@pytest.mark.parametrize("content", [b"", b"\x80\x02.", b"text", b"PK\x03\x04"])
def test_other_files_are_refused_by_name(tmp_path, content) -> None:
    path = tmp_path / "notes.pth"
    path.write_bytes(content)
    with pytest.raises(torch_file.NotWeights, match=r"notes\.pth"):
        torch_file.read(str(path))
