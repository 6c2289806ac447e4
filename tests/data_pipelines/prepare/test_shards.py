from tensorflow_datasets.core import shuffle

from data_pipelines.mixtures.clips import ClipRow
from data_pipelines.prepare import shards


def rows(count, split="train"):
    return [ClipRow(file=f"{number}.wav", captions=("x",), split=split) for number in range(count)]


def test_a_million_clips_have_few_shards_and_a_thousand_have_one(monkeypatch):
    assert [len(shard.rows) for shard in shards.plan(rows(1024))] == [1024]
    assert [len(shard.rows) for shard in shards.plan(rows(1500))] == [1024, 476]
    monkeypatch.setattr(shards, "MIN_CLIPS", 4)
    monkeypatch.setattr(shards, "MAX_SHARDS", 8)
    planned = shards.plan(rows(1000) + rows(9, "test"))
    assert [len(shard.rows) for shard in planned if shard.split == "train"] == [125] * 8
    assert [len(shard.rows) for shard in planned if shard.split == "test"] == [4, 4, 1]


def test_the_order_is_that_of_tfds_s_own_shuffler(tmp_path):
    shuffler = shuffle.Shuffler(dirpath=tmp_path, hash_salt="train")
    for row in rows(200):
        shuffler.add(row.file, row.file.encode())
    wanted = [data.decode() for _, data in shuffler]
    assert [row.file for shard in shards.plan(rows(200), clips_per_shard=30) for row in shard.rows] == wanted
