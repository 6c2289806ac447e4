import dataclasses
import json

import clap_folders
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_jax.encoders.clap import config as clap_config
from audiosep_jax.encoders.clap import constants, laion_config, params
from audiosep_jax.encoders.clap.config import ClapConfig, HtsatConfig, LogMelConfig, RobertaConfig
from audiosep_jax.errors import AudioSepError

LAION_KEYS = {
    name: tuple(shape)
    for name, shape in json.loads((clap_folders.GOLDEN / "laion_clap.keys.json").read_text("utf-8")).items()
}
ROBERTA_BASE = RobertaConfig(
    vocab_size=50265,
    hidden_size=768,
    num_hidden_layers=12,
    num_attention_heads=12,
    intermediate_size=3072,
    max_position_embeddings=514,
    type_vocab_size=1,
    hidden_act="gelu",
    layer_norm_eps=1e-5,
    pad_token_id=1,
)
LAION = ClapConfig(
    layout="laion",
    text=ROBERTA_BASE,
    audio=HtsatConfig(embed_dim=128, depths=(2, 2, 12, 2), heads=(4, 8, 16, 32)),
)


def write(folder, values, extractor=None, name="preprocessor_config.json"):
    (folder / "config.json").write_text(json.dumps(values))
    if extractor is not None:
        (folder / name).write_text(json.dumps(extractor))
    return folder


def laion_shapes(config):
    """Names and shapes of the tensors in LAION's file of such a model that reveal a size."""
    shapes = dict(params.tensor_shapes(config))
    return shapes | {name: value.shape for name, value in constants.constants(config)}


def test_the_config_of_laions_file_follows_from_its_tensors(tmp_path):
    config = laion_config.from_shapes(LAION_KEYS)
    assert config == LAION
    assert params.tensor_problems(config, LAION_KEYS) == []
    assert set(laion_shapes(config).items()) <= set(LAION_KEYS.items())
    assert clap_config.load(write(tmp_path, clap_config.to_json(config))) == config


def test_defaults_are_those_of_transformers(tmp_path):
    config = clap_config.load(write(tmp_path, {"model_type": "clap", "text_config": {"hidden_act": "relu"}}))
    assert config == ClapConfig(
        layout="transformers",
        text=dataclasses.replace(ROBERTA_BASE, hidden_act="relu", layer_norm_eps=1e-12),
        audio=HtsatConfig(embed_dim=96, depths=(2, 2, 6, 2), heads=(4, 8, 16, 32)),
        log_mel=LogMelConfig(frequency_min_hz=50.0, frequency_max_hz=14_000.0),
        clip_samples=480_000,
        projection_size=512,
        projection_act="relu",
    )


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("name", clap_folders.NAMES)
def test_a_transformers_config_is_read_with_its_feature_extractor(tmp_path, name, newer):
    model = clap_folders.models_json()[name]
    extractor = model["preprocessor"]
    if newer:
        write(tmp_path, model["config"], {"feature_extractor": extractor}, "processor_config.json")
    else:
        write(tmp_path, model["config"], extractor)
    config = clap_config.load(tmp_path)
    text, audio = model["config"]["text_config"], model["config"]["audio_config"]
    for key in set(text) & set(vars(config.text)):
        assert getattr(config.text, key) == text[key]
    assert config.audio.embed_dim == audio["patch_embeds_hidden_size"]
    assert config.audio.heads == tuple(audio["num_attention_heads"])
    assert config.audio.mlp_ratio == audio.get("mlp_ratio", 4)
    assert config.audio.qkv_bias == audio.get("qkv_bias", True)
    assert config.log_mel.hop_length == extractor["hop_length"]
    assert config.log_mel.frequency_max_hz == extractor["frequency_max"]
    assert config.clip_samples == extractor["nb_max_samples"]
    assert params.tensor_problems(config, {k: tuple(s) for k, s in model["shapes"].items()}) == []
    with pytest.raises(AudioSepError, match=r"keep the config\.json that came with them"):
        clap_config.to_json(config)


@settings(max_examples=15)
@given(
    layers=st.integers(1, 3),
    width=st.integers(1, 3),
    embed=st.sampled_from([8, 24]),
    depths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    window=st.sampled_from([2, 4]),
    mels=st.sampled_from([16, 32, 64]),
    fft=st.sampled_from([512, 1024]),
    options=st.tuples(st.booleans(), st.booleans(), st.sampled_from([1.0, 2.5, 4.0])),
)
def test_any_config_follows_from_its_tensors(layers, width, embed, depths, window, mels, fft, options):
    # The first stage has a mask, which tells the image's size.
    depths[0] = max(2, depths[0])
    config = ClapConfig(
        layout="laion",
        text=dataclasses.replace(
            ROBERTA_BASE,
            vocab_size=70 + width,
            hidden_size=64 * width,
            num_attention_heads=width,
            num_hidden_layers=layers,
            intermediate_size=50 + layers,
            max_position_embeddings=20 + layers,
        ),
        audio=HtsatConfig(
            embed_dim=embed,
            depths=tuple(depths),
            heads=tuple(2 ** min(stage, 2) for stage in range(len(depths))),
            spec_size=64,
            mel_bins=mels,
            window_size=window,
            patch_norm=options[0],
            qkv_bias=options[1],
            mlp_ratio=options[2],
        ),
        log_mel=LogMelConfig(window_length=fft, mel_bins=mels),
        projection_size=16 * width,
    )
    found = laion_config.from_shapes(laion_shapes(config))
    assert found == config


def test_every_unfit_tensor_is_named_at_once():
    shapes = dict(LAION_KEYS)
    del shapes["audio_branch.norm.bias"]
    del shapes["text_branch.pooler.dense.weight"]
    shapes["text_projection.2.weight"] = (512, 511)
    shapes["audio_branch.logmel_extractor.melW"] = (513, 63)
    shapes["audio_branch.layers.4.blocks.0.norm1.bias"] = (128,)
    shapes["query.something"] = (1,)
    shapes["text_branch.embeddings.position_ids"] = (1, 514)
    assert sorted(params.tensor_problems(LAION, shapes)) == [
        "mis-shaped audio_branch.logmel_extractor.melW ((513, 63), (513, 64) is needed)",
        "mis-shaped text_projection.2.weight ((512, 511), (512, 512) is needed)",
        "missing audio_branch.norm.bias",
        "missing text_branch.pooler.dense.weight",
        "unmapped audio_branch.layers.4.blocks.0.norm1.bias",
        "unmapped query.something",
    ]


SMALL = ClapConfig(
    layout="laion",
    text=dataclasses.replace(
        ROBERTA_BASE,
        vocab_size=300,
        hidden_size=128,
        num_attention_heads=2,
        num_hidden_layers=2,
        intermediate_size=48,
        max_position_embeddings=40,
    ),
    audio=HtsatConfig(embed_dim=8, depths=(1, 2), heads=(2, 4), spec_size=64, mel_bins=16, window_size=4),
    log_mel=LogMelConfig(window_length=512, mel_bins=16),
    projection_size=6,
)


def test_every_tensor_is_named_when_it_is_missing_or_mis_shaped_beside_others():
    """Sizes are a majority vote, so that one wrong tensor neither hides another nor blames it."""
    sound = laion_shapes(SMALL)
    elsewhere = {
        "audio_branch.layers.1.blocks.1.norm2.bias": (5,),
        "text_branch.embeddings.LayerNorm.bias": None,
        "audio_projection.2.bias": (1, 2),
        "audio_branch.new": (2,),
    }
    for name, shape in params.tensor_shapes(SMALL).items():
        wider = () if shape[-1:] == (1,) else ((*shape[:-1], shape[-1] + 1),)
        for fault in (None, (*shape, 3), *wider):
            faults = elsewhere | {name: fault}
            shapes = {key: value for key, value in (sound | faults).items() if value is not None}
            config = laion_config.from_shapes(shapes)
            said = params.tensor_problems(config, shapes)
            for key, value in faults.items():
                kind = "missing" if value is None else "unmapped" if key not in sound else "mis-shaped"
                needed = f" ({value}, {sound[key]} is needed)" if kind == "mis-shaped" else ""
                if key in ONLY_ONE_SHOWS and value is not None:
                    needed = f" ({value}, "
                assert any(line.startswith(f"{kind} {key}{needed}") for line in said), (key, value, said)
            # What only one tensor shows is not known without it, and then nothing else depends on it.
            assert len(said) == len(faults), (name, fault, said)


ONLY_ONE_SHOWS = (
    "text_branch.embeddings.word_embeddings.weight",
    "text_branch.embeddings.position_embeddings.weight",
    "audio_branch.patch_embed.proj.weight",
)


def test_several_wrong_sizes_are_all_named():
    shapes = dict(LAION_KEYS)
    faults = {
        "text_branch.pooler.dense.weight": (2, 3),
        "text_branch.encoder.layer.0.attention.self.query.weight": (700, 700),
        "audio_branch.patch_embed.proj.weight": None,
        "text_branch.embeddings.word_embeddings.weight": None,
        "audio_branch.layers.0.blocks.0.attn.relative_position_bias_table": None,
        "audio_branch.layers.0.blocks.0.mlp.fc1.weight": (2, 2),
        "audio_branch.bn0.weight": (63,),
        "text_projection.0.weight": None,
        "audio_branch.logmel_extractor.melW": None,
    }
    shapes = {name: shape for name, shape in (shapes | faults).items() if shape is not None}
    config = laion_config.from_shapes(shapes)
    assert config == LAION
    said = params.tensor_problems(config, shapes)
    assert [line.split(" (")[0] for line in sorted(said)] == sorted(
        f"{'missing' if shape is None else 'mis-shaped'} {name}" for name, shape in faults.items()
    )


def test_a_stray_number_in_a_name_is_not_a_depth():
    shapes = LAION_KEYS | {
        f"{prefix}.{number}.{leaf}": (1,)
        for prefix in ("text_branch.encoder.layer", "audio_branch.layers", "audio_branch.layers.0.blocks")
        for number in (999, 99_999_999)
        for leaf in ("a", "b", "c")
    }
    assert laion_config.from_shapes(shapes) == LAION


def without(prefix):
    return {name: shape for name, shape in LAION_KEYS.items() if not name.startswith(prefix)}


@pytest.mark.parametrize(
    ("shapes", "part"),
    [
        (LAION_KEYS | {"audio_branch.patch_embed.mel_conv2d.weight": (128, 1, 4, 12)}, "feature fusion"),
        (
            LAION_KEYS | {"audio_branch.patch_embed.fusion_model.local_att.0.weight": (1, 1, 1, 1)},
            "feature fusion",
        ),
        (LAION_KEYS | {"text_branch.embeddings.token_type_embeddings.weight": (2, 768)}, "no RoBERTa"),
        (without("text_branch.") | {"text_branch.shared.weight": (50265, 768)}, "BERT, BART or CLIP's"),
        (without("text_branch."), "holds no RoBERTa text tower"),
        (without("audio_branch.") | {"audio_branch.conv_block1.conv1.weight": (64, 1, 3, 3)}, "no HTSAT"),
        (
            {
                name: tuple(700 if size == 768 else size for size in shape)
                if name.startswith("text_branch.")
                else shape
                for name, shape in LAION_KEYS.items()
            },
            "text tower of size 700",
        ),
        ({}, "big.pt holds no"),
        ({"base.bn0.weight": (1025,)}, "big.pt holds no"),
    ],
)
def test_another_model_is_refused_in_one_sentence(shapes, part):
    with pytest.raises(AudioSepError) as caught:
        laion_config.from_shapes(shapes, where="big.pt")
    text = str(caught.value)
    assert part in text
    assert len(text) < 300


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"model_type": "clip"}, "model_type 'clip'"),
        ({}, "model_type None"),
        ({"model_type": "clap", "audio_config": {"enable_fusion": True}}, "feature fusion (enable_fusion)"),
        ({"model_type": "clap", "text_config": {"pad_token_id": None}}, "pad_token_id is None"),
        ({"model_type": "clap", "text_config": {"hidden_size": "768"}}, "hidden_size is '768'"),
        ({"model_type": "clap", "text_config": [1]}, "text_config is [1]: a JSON object"),
        (
            {"model_type": "clap", "text_config": {"position_embedding_type": "relative_key"}},
            "position_embedding_type is 'relative_key'",
        ),
        ({"model_type": "clap", "audio_config": {"hidden_size": 100}}, "audio_config.hidden_size is 100"),
        ({"model_type": "clap", "audio_config": {"patch_size": [4, 2]}}, "patch_size is [4, 2]"),
        ({"model_type": "clap", "audio_config": {"depths": 3}}, "depths is 3: a list"),
        ({"model_type": "clap", "projection_dim": 0}, "must be positive"),
        ({"model_type": "clap", "projection_hidden_act": "mish"}, "projection_act is 'mish'"),
        ({"model_type": "laion_clap"}, "is incomplete"),
        ({"model_type": "laion_clap", "text": {}, "audio": {}}, "is incomplete"),
        ({**clap_config.to_json(LAION), "towers": 2}, "unknown field(s) towers"),
        ({**clap_config.to_json(LAION), "log_mel": {"mel_bins": 32}}, "must be the same"),
        ({**clap_config.to_json(LAION), "clip_samples": 0}, "must be positive"),
    ],
)
def test_an_unfit_config_is_refused_with_its_file(tmp_path, values, part):
    with pytest.raises(AudioSepError) as caught:
        clap_config.load(write(tmp_path, values))
    assert part in str(caught.value)
    assert str(tmp_path / "config.json") in str(caught.value)


@pytest.mark.parametrize(
    "extractor", [{"max_length_s": "ten"}, {"sampling_rate": None}, {"hop_length": 0}, []]
)
def test_an_unfit_feature_extractor_is_refused_with_its_folder(tmp_path, extractor):
    with pytest.raises(AudioSepError, match=str(tmp_path)):
        clap_config.load(write(tmp_path, {"model_type": "clap"}, extractor))
