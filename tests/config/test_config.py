"""The config: the same after JSON, and every mistake in it is reported with its place."""

import dataclasses
import json

import hypothesis
import hypothesis.strategies as st
import pytest

from audiosep_jax.config import (
    DataConfig,
    ExperimentConfig,
    MixtureConfig,
    ModelConfig,
    OptimizerConfig,
    QueryConfig,
    TrainConfig,
    recipes,
)
from audiosep_jax.errors import AudioSepError
from audiosep_jax.utils.serialization import from_dict, load_json, to_dict

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
DECIBELS = st.floats(-120, 120)


@st.composite
def experiments(draw):
    low, high = sorted([draw(DECIBELS), draw(DECIBELS)])
    gains = sorted([draw(st.integers(-90, 90)), draw(st.integers(-90, 90))])
    return ExperimentConfig(
        name=draw(TEXT),
        model=ModelConfig(
            encoder_widths=tuple(draw(st.lists(st.integers(1, 999), min_size=2, max_size=6))),
            film=draw(st.sampled_from(["shift", "scale_shift"])),
            patch_bins=draw(st.sampled_from([1, 2, 16])),
            magnitude_power=draw(st.floats(1e-3, 1)),
            working_level_db=draw(st.none() | st.floats(-60, 20)),
            unused_tensors=draw(st.booleans()),
        ),
        query=QueryConfig(encoder=draw(TEXT), source=draw(TEXT), text_ratio=draw(st.floats(0, 1))),
        mixture=MixtureConfig(
            fewest_sources=draw(st.sampled_from([0, 2])),
            gain_range_db=tuple(gains),
            snr_range_db=draw(st.sampled_from([(), (low, high)])),
            level_range_db=(low, high),
            collisions=tuple(
                draw(st.permutations(["caption", "label", "similarity"]))[: draw(st.integers(0, 3))]
            ),
            similarity=draw(st.floats(0, 0.99)),
            interferers=draw(st.sampled_from(["drawn", "neighbours"])),
        ),
        data=DataConfig(
            datasets=tuple(draw(st.lists(TEXT, max_size=3))),
            weights=tuple(draw(st.lists(st.floats(1e-6, 1e6), max_size=3))),
            seed=draw(st.integers(0, 2**63)),
        ),
        optimizer=OptimizerConfig(
            kind=draw(st.sampled_from(["adam", "adamw", "adamw_amsgrad", "muon"])),
            learning_rate=draw(st.floats(1e-9, 1e3)),
            warmup_factors=tuple(draw(st.lists(st.floats(0, 1e6), max_size=3))),
        ),
        train=TrainConfig(steps=draw(st.integers(1, 2**40)), loss=draw(st.sampled_from(["l1", "snr"]))),
    )


@hypothesis.settings(max_examples=40)
@hypothesis.given(experiments())
def test_a_config_is_the_same_after_json(config):
    assert from_dict(ExperimentConfig, json.loads(json.dumps(to_dict(config)))) == config
    assert hash(config) == hash(from_dict(ExperimentConfig, to_dict(config)))


def test_missing_fields_take_their_defaults():
    assert from_dict(ExperimentConfig, {}) == ExperimentConfig()
    some = from_dict(ExperimentConfig, {"model": {"hop_length": 100}})
    assert some == ExperimentConfig(model=ModelConfig(hop_length=100))


def test_an_integer_is_a_valid_float():
    config = from_dict(MixtureConfig, {"segment_seconds": 2, "level_range_db": [-3, 0]})
    assert config.segment_seconds == 2.0
    assert all(isinstance(value, float) for value in (config.segment_seconds, *config.level_range_db))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"modle": {}}, "config has unknown field(s) modle; known: model, "),
        ({"model": {"b": 1, "a": 2}}, "config.model has unknown field(s) a, b; known: patch_bins"),
        ({"model": 3}, "config.model must be a JSON object, but is 3"),
        ({"name": 3}, "config.name is 3: a value of type str is needed"),
        ({"name": None}, "config.name is None: a value of type str is needed"),
        ({"train": {"steps": "9"}}, "config.train.steps is '9': a value of type int is needed"),
        ({"train": {"steps": 9.0}}, "config.train.steps is 9.0: a value of type int is needed"),
        ({"train": {"steps": True}}, "config.train.steps is True: a value of type int is needed"),
        ({"optimizer": {"learning_rate": True}}, "learning_rate is True: a value of type float is needed"),
        ({"model": {"unused_tensors": 1}}, "unused_tensors is 1: a value of type bool is needed"),
        ({"model": {"film": "both"}}, "config.model.film is 'both': choose one of shift, scale_shift"),
        ({"model": {"working_level_db": "low"}}, "level_db is 'low': a value of type float is needed"),
        ({"model": {"encoder_widths": "8"}}, "config.model.encoder_widths is '8': a list is needed"),
        ({"model": {"encoder_widths": [8, "8"]}}, "config.model.encoder_widths is '8': a value of type int"),
        ({"mixture": {"gain_range_db": [1, 2, 3]}}, "gain_range_db has 3 entries: 2 are needed"),
        ({"mixture": {"collisions": ["none"]}}, "choose one of caption, label, similarity, ontology"),
        ({"mixture": {"interferers": "all"}}, "choose one of drawn, neighbours"),
    ],
)
def test_a_mistake_is_named_with_its_place(values, said):
    with pytest.raises(AudioSepError) as error:
        from_dict(ExperimentConfig, values)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("cls", "values", "said"),
    [
        (ModelConfig, {"encoder_widths": (8,)}, "give two or more positive widths"),
        (ModelConfig, {"encoder_widths": (8, 0)}, "give two or more positive widths"),
        (ModelConfig, {"window_length": 1000}, "half of it must be a multiple of 64"),
        (ModelConfig, {"window_length": 2047}, "half of it must be a multiple of 64"),
        (ModelConfig, {"window_length": 0}, "model.hop_length"),
        (ModelConfig, {"hop_length": 0}, "between 1 and half the window (1024)"),
        (ModelConfig, {"hop_length": 1025}, "between 1 and half the window (1024)"),
        (ModelConfig, {"patch_bins": 0}, "model.patch_bins is 0"),
        (
            ModelConfig,
            {"patch_bins": 32},
            "a multiple of 2048, because 6 encoder blocks halve the frequency axis of patches of 32",
        ),
        (ModelConfig, {"bottleneck_blocks": 0}, "model.bottleneck_blocks is 0"),
        (ModelConfig, {"magnitude_power": 0.0}, "model.magnitude_power is 0.0"),
        (ModelConfig, {"magnitude_power": 1.5}, "model.magnitude_power is 1.5"),
        (ModelConfig, {"working_level_db": -61.0}, "model.working_level_db is -61.0: give -60 to 20 dBFS"),
        (MixtureConfig, {"sources": 1}, "mixture.sources is 1"),
        *((QueryConfig, {"text_ratio": ratio}, f"query.text_ratio is {ratio}") for ratio in (-0.1, 1.1)),
        (MixtureConfig, {"gain_range_db": (3, 2)}, "mixture.gain_range_db is (3, 2)"),
        (MixtureConfig, {"level_range_db": (3.0, 2.0)}, "mixture.level_range_db is (3.0, 2.0)"),
        (MixtureConfig, {"absent_probability": 1.0}, "mixture.absent_probability is 1.0"),
        *(
            (MixtureConfig, {"sources": 3, "fewest_sources": few}, f"mixture.fewest_sources is {few}")
            for few in (-1, 1, 4)
        ),
        (MixtureConfig, {"snr_range_db": (3.0, 2.0)}, "mixture.snr_range_db is (3.0, 2.0)"),
        (MixtureConfig, {"level_range_db": (0.0, float("inf"))}, "give ratios from -120 to 120 dB"),
        (MixtureConfig, {"snr_range_db": (3.0,)}, "give the lowest and the highest, or nothing"),
        (MixtureConfig, {"collisions": ("label", "label")}, "name each rule once"),
        (
            MixtureConfig,
            {"collisions": ("label",), "absent_probability": 0.1},
            'mixture.absent_probability is 0.1, but without the rule "caption" a query may describe a source',
        ),
        (MixtureConfig, {"similarity": 1.0}, "mixture.similarity is 1.0"),
        (MixtureConfig, {"similarity": -0.1}, "mixture.similarity is -0.1"),
        (MixtureConfig, {"collisions": ("ontology",)}, "mixture.collisions needs mixture.ontology"),
        (MixtureConfig, {"specific_labels": True}, "mixture.specific_labels needs mixture.ontology"),
        (MixtureConfig, {"ontology": "o.json"}, "mixture.ontology is 'o.json', but no option uses it"),
        (
            MixtureConfig,
            {"collisions": ("caption",), "ontology": "o.json", "specific_labels": True},
            "mixture.specific_labels changes nothing",
        ),
        *((TrainConfig, {name: 0}, f"train.{name} is 0") for name in ("steps", "batch_size", "save_every")),
    ],
)
def test_impossible_values_are_refused(cls, values, said):
    with pytest.raises(AudioSepError) as error:
        cls(**values)
    assert said in str(error.value)


def test_the_published_recipes_are_recipes():
    for recipe in (recipes.reference(), recipes.reference(most=5), recipes.dcase()):
        assert from_dict(MixtureConfig, json.loads(json.dumps(to_dict(recipe)))) == recipe
    assert recipes.reference().collisions == ()
    assert (recipes.reference(most=4).fewest_sources, recipes.reference(most=4).sources) == (2, 4)
    assert recipes.dcase().snr_range_db == (-15, 15)


def test_errors_of_a_file_name_the_file(tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(AudioSepError, match=r"config\.json does not exist"):
        load_json(ExperimentConfig, path)
    for text, said in (("{", "is not a readable JSON file"), ('{"train": {"steps": "x"}}', "train.steps")):
        path.write_text(text)
        with pytest.raises(AudioSepError) as error:
            load_json(ExperimentConfig, path)
        assert str(error.value).startswith(str(path))
        assert said in str(error.value)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(AudioSepError, match="is not a readable JSON file"):
        load_json(ExperimentConfig, path)


def test_configs_are_frozen():
    config = ExperimentConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.name = "other"


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("model", "condition_size", 0),
        ("mixture", "segment_seconds", 0.0),
        ("data", "seed", -1),
        ("data", "read_threads", -1),
        ("data", "weights", [0.5, 0.0]),
        ("data", "weights", [1.0, float("inf")]),
        ("optimizer", "learning_rate", -1.0),
        ("optimizer", "beta1", 2.0),
        ("optimizer", "decay_steps", -3),
        ("optimizer", "weight_decay", -0.1),
        ("train", "validation_mixtures", 0),
        ("train", "audio_examples", -1),
    ],
)
def test_values_that_cannot_be_used_are_named(part, field, value):
    with pytest.raises(AudioSepError, match=rf"{part}\.{field} is"):
        from_dict(ExperimentConfig, {part: {field: value}})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused(value):
    with pytest.raises(AudioSepError, match=r"optimizer\.learning_rate is .* finite"):
        from_dict(ExperimentConfig, {"optimizer": {"learning_rate": value}})
