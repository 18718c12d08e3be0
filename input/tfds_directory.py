"""What TensorFlow Datasets has prepared, read as it is.

Its own library reads the metadata: files, examples of each file, features and
class names. The records are read by our reader, and their pictures stay encoded
until our decoder takes the part that it needs: what `tfds.decode.SkipDecoding`
is for.
"""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from input import dataset, errors, imagenet_records, sources

# Under these names data sets keep what their pictures are called.
_NAMES = ("image/filename", "file_name", "filename", "image/file_name", "id")


@dataclasses.dataclass(frozen=True)
class TfdsDirectory(sources.RecordFiles):
    """A data set that TensorFlow Datasets has prepared.

    Attributes:
        name_or_directory: The folder with dataset_info.json, such as
            `~/tensorflow_datasets/mnist/3.0.1`; or a name that the library
            knows, such as `mnist` or `imagenet2012:5.1.0`. Nothing is
            downloaded.
        data_dir: Where data sets known by name are; "" takes the library's
            choice, ~/tensorflow_datasets.
        image: Name of the feature with the picture.
        label: Name of the feature with the class.
        channel_mean: Mean pixel value, 0..255, of each channel of the
            pictures: 3 values, or 1 for grey ones. None takes ImageNet's, and
            their mean for grey pictures.
        channel_std: Standard deviation of the same pixels, likewise.

    Raises:
        errors.DataError: It is not there, not prepared, not in TFRecord files,
            or has no such features.
    """

    name_or_directory: str
    data_dir: str = ""
    image: str = "image"
    label: str = "label"
    channel_mean: Sequence[float] | None = None
    channel_std: Sequence[float] | None = None

    def __post_init__(self) -> None:
        _ = self.info

    @functools.cached_property
    def info(self) -> dataset.DatasetInfo:
        """What dataset_info.json and features.json say.

        The examples of each class are not known. The fingerprint depends on
        names, sizes and examples of the files, and on the class names.
        """
        image, label = self._feature(self.image), self._feature(self.label)
        self._check_features(image, label)
        splits = {
            str(split): self._shards(found)
            for split, found in self._builder.info.splits.items()
        }
        channels = 1 if image.shape[-1] == 1 else 3
        mean, std = self._moments(channels)
        shape = (*image.shape[:2], channels)
        return dataset.DatasetInfo(
            splits=splits,
            class_names=tuple(label.names),
            image_shape=None if None in shape else shape,
            channel_mean=mean,
            channel_std=std,
            fingerprint=dataset.fingerprint(splits, label.names),
            label_counts={},
            image_format=image.encoding_format or "mixed",
        )

    @property
    def directory(self) -> str:
        """The folder with dataset_info.json."""
        return os.fspath(self._builder.data_path)

    @functools.cached_property
    def fields(self) -> sources.Fields:
        """The names of the features."""
        known = self._builder.info.features
        name = next((name for name in _NAMES if name in known), "")
        return sources.Fields(image=self.image, label=self.label, name=name)

    def check(self, split: str) -> None:
        """Looks for files that are missing or have become shorter.

        Raises:
            errors.DataError: Unknown or empty split, or there are such files.
        """
        super().check(split)
        shards = self.info.shards(split)
        found = sum(shard.bytes for shard in shards)
        expected = int(self._builder.info.splits[split].num_bytes or 0)
        if found < expected:
            raise errors.DataError(
                f"{self.directory}: the {len(shards)} files of split {split!r} "
                f"have {found:,} bytes, but dataset_info.json says that their "
                f"records alone have {expected:,}. A file is truncated: copy "
                "the data set again, or prepare it again."
            )

    @functools.cached_property
    def _builder(self) -> Any:
        """The library's reader of a data set's metadata."""
        # Takes seconds, and is not needed for other sources.
        import tensorflow_datasets as tfds

        given = os.path.expanduser(self.name_or_directory)
        is_folder = "/" in given and _exists(given)
        try:
            if is_folder or _exists(os.path.join(given, "dataset_info.json")):
                builder = tfds.builder_from_directory(given)
            else:
                builder = tfds.builder(
                    self.name_or_directory,
                    data_dir=self.data_dir or None,
                    try_gcs=False,
                )
        except Exception as e:  # it raises its own kinds for what is wrong
            raise errors.DataError(
                f"tfds.name_or_directory={self.name_or_directory!r}: "
                f"{type(e).__name__}: {_first_line(e)} Give a folder "
                "with dataset_info.json, or the name of a data set that "
                "TensorFlow Datasets has prepared in tfds.data_dir."
            ) from e
        self._check_prepared(builder)
        return builder

    def _check_prepared(self, builder: Any) -> None:
        folder = os.fspath(builder.data_path)
        if not builder.info.splits:
            raise errors.DataError(
                f"tfds.name_or_directory={self.name_or_directory!r}: "
                f"{folder} holds no prepared data. Prepare it first: "
                f'tfds.builder("{self.name_or_directory}", data_dir=...)'
                ".download_and_prepare()."
            )
        # Imported in _builder.
        file_format = getattr(builder.info.file_format, "value", None)
        if file_format != "tfrecord":
            raise errors.DataError(
                f"{folder}: its files are in the format {file_format!r}, but "
                "only 'tfrecord' can be read. Prepare the data set with "
                'tfds.builder(..., file_format="tfrecord").'
            )

    def _feature(self, name: str) -> Any:
        features = self._builder.info.features
        if name not in features:
            raise errors.DataError(
                f"{self.directory} has no feature {name!r}; it has: "
                f"{', '.join(sorted(features))}. Name the picture and its "
                "class with tfds.image and tfds.label."
            )
        return features[name]

    def _check_features(self, image: Any, label: Any) -> None:
        import tensorflow_datasets as tfds

        if not isinstance(image, tfds.features.Image) or (
            image.np_dtype != "uint8"
        ):
            raise errors.DataError(
                f"{self.directory}: the feature {self.image!r} is "
                f"{image}, not an Image of uint8. Name another with "
                "tfds.image."
            )
        if not isinstance(label, tfds.features.ClassLabel):
            raise errors.DataError(
                f"{self.directory}: the feature {self.label!r} is {label}, not "
                "a ClassLabel. Name another with tfds.label."
            )
        if not label.names or len(label.names) < 2:
            raise errors.DataError(
                f"{self.directory}: the feature {self.label!r} has "
                f"{len(label.names or ())} classes; a classifier needs two."
            )

    def _shards(self, split: Any) -> tuple[dataset.Shard, ...]:
        paths = [os.fspath(path) for path in split.filepaths]
        sizes = dataset.sizes(paths)
        missing = [
            os.path.basename(path)
            for path, size in zip(paths, sizes, strict=True)
            if size is None
        ]
        if missing:
            raise errors.DataError(
                f"{self.directory}: {len(missing)} of the {len(paths)} files "
                f"of split {split.name!r} are missing, such as {missing[0]}. "
                "Copy the data set again, or prepare it again."
            )
        return tuple(
            dataset.Shard(os.path.basename(path), int(examples), size or 0)
            for path, examples, size in zip(
                paths, split.shard_lengths, sizes, strict=True
            )
        )

    def _moments(
        self, channels: int
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Returns mean and standard deviation of each channel."""
        mean = self.channel_mean or imagenet_records.CHANNEL_MEAN
        std = self.channel_std or imagenet_records.CHANNEL_STD
        imagenet_records.check_channels(mean, std)
        if channels == 1:
            mean, std = ([sum(v) / len(v)] for v in (mean, std))
        elif len(mean) != channels:
            raise ValueError(
                f"tfds.channel_mean={tuple(mean)}: the pictures have "
                f"{channels} channels. Give a value for each."
            )
        return tuple(map(float, mean)), tuple(map(float, std))


def _exists(path: str) -> bool:
    # gfile: it may be on gs://, where a folder has no entry of its own.
    return bool(tf.io.gfile.exists(path))


def _first_line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [""])[0]
    return line if line.endswith(".") else f"{line}."
