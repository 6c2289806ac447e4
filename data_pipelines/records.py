"""Serialised examples: written the same way every time, parsed without TensorFlow."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]
from etils import epath
from tensorflow_datasets.core import file_adapters
from tensorflow_datasets.core import writer as tfds_writer
from tensorflow_datasets.proto import tf_example_pb2


class RecordWriter(tfds_writer.ExampleWriter):
    """Writes ArrayRecord files whose bytes are a function of the examples.

    tfds's own writer leaves the order of an example's features to protobuf, which draws it anew in every
    process. It also compresses records; here they hold FLAC, which only costs time to compress again.
    """

    def __init__(self):
        super().__init__(file_format=file_adapters.FileFormat.ARRAY_RECORD)

    def write(self, path: epath.PathLike, examples: Iterable[tuple[Any, Any]]) -> None:
        """Writes the examples of one shard, each (key, serialised)."""
        writer = array_record_module.ArrayRecordWriter(os.fspath(path), "group_size:1,uncompressed")
        for _, serialised in examples:
            writer.write(_example(serialised).SerializeToString(deterministic=True))
        writer.close()


def parse(record: bytes) -> Mapping[str, Any]:
    """Returns the features of a serialised `tf.train.Example` by name, as protobuf messages."""
    return _example(record).features.feature


def _example(record: bytes):
    return tf_example_pb2.Example.FromString(record)  # pyright: ignore[reportAttributeAccessIssue]
