"""Weights that PyTorch has saved, read without PyTorch and without its risks.

A file of `torch.save` is a pickle, which may call anything when it is read.
Here it may name tensors, their storages and an ordered dictionary, and nothing
else. Both layouts are read: the archive of PyTorch 1.6 and later, and the row
of pickles of earlier versions. Nothing is taken that is larger than the file.
"""

import collections
import dataclasses
import io
import math
import os
import pickle
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# A dictionary of some thousand tensors takes a few hundred kilobytes.
_MOST_PICKLE_BYTES = 2**25
_MOST_TIED = 4
_DTYPES = {
    "BFloat16Storage": ml_dtypes.bfloat16,
    "BoolStorage": np.bool_,
    "ByteStorage": np.uint8,
    "CharStorage": np.int8,
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "IntStorage": np.int32,
    "LongStorage": np.int64,
    "ShortStorage": np.int16,
}


class NotWeights(ValueError):  # noqa: N818 - a state of a file
    """The file holds something else than tensors by name."""


@dataclasses.dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype
    elements: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: str) -> dict[str, np.ndarray]:
    """Returns the tensors of a file by name, with the shapes of PyTorch.

    They may be in a dictionary of their own under "state_dict". A prefix
    "module.", which DataParallel puts before each name, is left out.

    Args:
        path: Of a file that `torch.save` wrote, such as `.pth`.

    Raises:
        NotWeights: It is something else, damaged, or calls what it must not.
        OSError: It cannot be read.
    """
    try:
        if zipfile.is_zipfile(path):
            named = _read_archive(path)
        else:
            named = _read_pickles(path)
    except NotWeights as error:
        raise NotWeights(f"{path} {error}") from error
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        # What a damaged pickle may run into.
        AttributeError,
        EOFError,
        IndexError,
        KeyError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise NotWeights(
            f"{path} is no file of torch.save, or is damaged: {error}."
        ) from error
    return {name.removeprefix("module."): a for name, a in named.items()}


def _read_archive(path: str) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        # PyTorch compresses nothing: what is read is no larger than the file.
        packed = [
            name
            for name, info in members.items()
            if info.compress_type != zipfile.ZIP_STORED
        ]
        if packed or sum(i.file_size for i in members.values()) > (
            os.path.getsize(path)
        ):
            raise NotWeights(
                "is an archive, but not one of torch.save: that compresses "
                "nothing and has no member twice."
            )
        pickles = [name for name in members if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise NotWeights(
                "is an archive, but not one of torch.save: it has no data.pkl."
            )
        folder = pickles[0].removesuffix("data.pkl")
        order = f"{folder}byteorder"
        if order in members and archive.read(order) != b"little":
            raise NotWeights("was written on a big-endian machine.")
        _check_size(members[pickles[0]].file_size)
        loaded = _Weights(io.BytesIO(archive.read(pickles[0]))).load()

        def content(storage: _Storage) -> bytes:
            return archive.read(f"{folder}data/{storage.key}")

        return _arrays(_tensors(loaded), content)


def _read_pickles(path: str) -> dict[str, np.ndarray]:
    with open(path, "rb") as file:
        whole = file.read()
    stream = io.BytesIO(whole)
    if _Weights(stream).load() != _MAGIC:
        raise NotWeights("is no file of torch.save: it begins otherwise.")
    if _Weights(stream).load() != _PROTOCOL:
        raise NotWeights("has a protocol that is not known.")
    _Weights(stream).load()  # The machine that wrote it.
    before = stream.tell()
    tensors = _tensors(_Weights(stream).load())
    keys = _Weights(stream).load()
    _check_size(stream.tell() - before)
    storages = {t.storage.key: t.storage for t in tensors.values()}
    contents = {}
    for key in keys:
        elements = int.from_bytes(stream.read(8), "little", signed=True)
        storage = storages.get(key)
        if storage is None or storage.elements != elements:
            raise NotWeights(f"has a storage {key!r} that no tensor describes.")
        contents[key] = stream.read(elements * storage.dtype.itemsize)
    return _arrays(tensors, lambda storage: contents[storage.key])


def _check_size(pickle_bytes: int) -> None:
    if pickle_bytes > _MOST_PICKLE_BYTES:
        raise NotWeights(
            f"describes its tensors in {pickle_bytes:,} bytes; at most "
            f"{_MOST_PICKLE_BYTES:,} are read."
        )


class _Weights(pickle.Unpickler):
    """Reads a pickle that may name tensors and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a global of PyTorch."""
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        }
        if module == "torch" and name in _DTYPES:
            return np.dtype(_DTYPES[name])
        if (module, name) not in known:
            raise NotWeights(
                f"names {module}.{name}, which is not called: a file of "
                "weights has tensors alone. Save `model.state_dict()`."
            )
        return known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """Returns the storage that a tensor is in."""
        kind, dtype, key, _, elements, *view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(view):
            raise NotWeights(f"refers to {pid!r}, which is no storage.")
        return _Storage(str(key), dtype, int(elements))


def _rebuild_tensor(
    storage: _Storage,
    first: int,
    shape: Sequence[int],
    strides: Sequence[int],
    *_: Any,
) -> _Tensor:
    # Where the last element lies. A view may not be larger than what it is a
    # view of: strides of 0 would make any size of a few bytes.
    elements: int = math.prod(tuple(shape))
    last = sum((n - 1) * by for n, by in zip(shape, strides, strict=True))
    if (
        min((first, *shape, *strides)) < 0
        or elements > storage.elements
        or (elements and first + last >= storage.elements)
    ):
        raise NotWeights(
            f"has a tensor of shape {tuple(shape)} and strides "
            f"{tuple(strides)} that is not within its storage."
        )
    return _Tensor(storage, first, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor: _Tensor, *_: Any) -> _Tensor:
    return tensor


def _tensors(loaded: Any) -> dict[str, _Tensor]:
    """Returns the tensors by name."""
    if isinstance(loaded, dict) and "state_dict" in loaded:
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(
        isinstance(name, str) and isinstance(tensor, _Tensor)
        for name, tensor in loaded.items()
    ):
        raise NotWeights(
            "holds something else than tensors by name. Save "
            "`model.state_dict()`, or a dictionary that has it under "
            '"state_dict".'
        )
    return dict(loaded)


def _arrays(
    tensors: dict[str, _Tensor], content: Callable[[_Storage], bytes]
) -> dict[str, np.ndarray]:
    there = {t.storage.key: t.storage.elements for t in tensors.values()}
    # Weights may be tied, but not all of them and many times.
    if sum(math.prod(t.shape) for t in tensors.values()) > (
        _MOST_TIED * sum(there.values())
    ):
        raise NotWeights(
            f"has {len(tensors):,} tensors that show the same numbers more "
            f"than {_MOST_TIED} times over."
        )
    read_: dict[str, np.ndarray] = {}
    arrays = {}
    for name, tensor in tensors.items():
        storage = tensor.storage
        if storage.key not in read_:
            data = content(storage)
            if len(data) != storage.elements * storage.dtype.itemsize:
                raise NotWeights(
                    f"is cut off: {name!r} has {len(data):,} bytes of "
                    f"{storage.elements * storage.dtype.itemsize:,}."
                )
            read_[storage.key] = np.frombuffer(data, storage.dtype)
        view = np.lib.stride_tricks.as_strided(
            read_[storage.key][tensor.first :],
            tensor.shape,
            [storage.dtype.itemsize * by for by in tensor.strides],
            writeable=False,
        )
        arrays[name] = np.ascontiguousarray(view).reshape(tensor.shape)
    return arrays
