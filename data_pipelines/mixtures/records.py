"""Serialised examples: written with deterministic bytes, parsed without TensorFlow."""

import functools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]
from etils import epath
from tensorflow_datasets.core import example_serializer, file_adapters
from tensorflow_datasets.core import writer as tfds_writer
from tensorflow_datasets.proto import tf_example_pb2

from data_pipelines.mixtures import clips

# One group per record, so that each can be read alone. They hold FLAC, which does not compress further.
_OPTIONS = "group_size:1,uncompressed"


class RecordWriter(tfds_writer.ExampleWriter):
    """Writes ArrayRecord files with deterministic bytes for a builder that tfds runs.

    With tfds's own writer, the order of an example's features would differ from process to process.
    """

    def __init__(self):
        super().__init__(file_format=file_adapters.FileFormat.ARRAY_RECORD)

    def write(self, path: epath.PathLike, examples: Iterable[tuple[Any, Any]]) -> None:
        """Writes the examples of one shard, each (key, serialised)."""
        write_file(Path(path), (_deterministic(_example(serialised)) for _, serialised in examples))


def write_file(path: Path, records: Iterable[bytes]) -> None:
    """Writes an ArrayRecord file and checks its number of records.

    Raises:
      OSError: it cannot be written.
    """
    count = 0
    try:
        writer = array_record_module.ArrayRecordWriter(os.fspath(path), _OPTIONS)
        for record in records:
            writer.write(record)
            count += 1
        writer.close()
        reader = array_record_module.ArrayRecordReader(os.fspath(path))
        found = reader.num_records()
        reader.close()
    except (RuntimeError, ValueError) as error:  # the C++ writer's errors, such as a full disk
        raise OSError(str(error)) from error
    if found != count:
        raise OSError(f"{found} of {count} records were written")


def serialise(values: Mapping[str, Any], *, frames: bool, labels: bool) -> bytes:
    """Returns the record of an example of `clips.features`, the same bytes in every process."""
    features, serialiser = _serialiser(frames, labels)
    return _deterministic(serialiser.get_tf_example(features.encode_example(values)))


def parse(record: bytes) -> Mapping[str, Any]:
    """Returns the features of a serialised `tf.train.Example` by name, as protobuf messages."""
    return _example(record).features.feature


@functools.lru_cache
def _serialiser(frames: bool, labels: bool):
    features = clips.features(frames=frames, labels=labels)
    info: Any = features.get_serialized_info()
    return features, example_serializer.ExampleSerializer(info)


def _example(record: bytes):
    return tf_example_pb2.Example.FromString(record)  # pyright: ignore[reportAttributeAccessIssue]


def _deterministic(example) -> bytes:
    return example.SerializeToString(deterministic=True)
