"""Makes htsat_records.{json,npz} with PyTorch 2.13.0 and transformers 5.23: `python make_htsat_records.py`.

No test runs this. The weights and the spectrograms are drawn by `htsat_inputs`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import ClapAudioConfig, ClapAudioModel, ClapFeatureExtractor
from transformers.models.clap.modeling_clap import ClapAudioAttention

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from golden_inputs import SEED, waveform
from htsat_inputs import CASES, spectrograms, tensor

# (feature extractor's arguments, samples of the waveform)
EXTRACTORS = {
    "laion": ({"frequency_min": 50}, 9_000),
    "low": (
        {
            "sampling_rate": 16_000,
            "frequency_max": 7_000,
            "feature_size": 12,
            "fft_window_size": 256,
            "hop_length": 100,
        },
        3_333,
    ),
    "high": ({"frequency_min": 1_500, "frequency_max": 24_000, "feature_size": 40, "hop_length": 512}, 4_096),
}


def model_of(case):
    values = dict(case)
    config = ClapAudioConfig(
        spec_size=values["spec_size"],
        num_mel_bins=values["mel_bins"],
        patch_size=values["patch_size"],
        patch_stride=list(values["patch_stride"]),
        patch_embeds_hidden_size=values["embed_dim"],
        enable_patch_layer_norm=values["patch_norm"],
        hidden_size=values["embed_dim"] * 2 ** (len(values["depths"]) - 1),
        depths=list(values["depths"]),
        num_attention_heads=list(values["heads"]),
        window_size=values["window_size"],
        mlp_ratio=values["mlp_ratio"],
        qkv_bias=values["qkv_bias"],
        hidden_act=values["hidden_act"],
        layer_norm_eps=values["layer_norm_eps"],
    )
    model = ClapAudioModel(config).eval()
    for stage, layer in enumerate(model.audio_encoder.layers):
        smallest = min(model.audio_encoder.input_resolutions[stage])
        if smallest < config.window_size:
            # LAION's code makes the table of such a stage for the smaller window; transformers' does not,
            # and fails.
            heads = config.num_attention_heads[stage]
            for block in layer.blocks:
                block.attention = ClapAudioAttention(config, layer.dim, heads, window_size=smallest)
    return model.eval()


def main():
    arrays, shapes = {}, {}
    for name, (case, frames) in CASES.items():
        model = model_of(case)
        state = model.state_dict()
        shapes[name] = {f"audio_model.{key}": list(value.shape) for key, value in state.items()}
        with torch.no_grad():
            for key, value in state.items():
                if value.is_floating_point():
                    value.copy_(torch.tensor(tensor(f"audio_model.{key}", tuple(value.shape))))
            model.load_state_dict(state)
            features = torch.tensor(spectrograms(frames, case["mel_bins"]))[:, None]
            outputs = model(input_features=features)
        arrays[f"{name}/latent"] = outputs.pooler_output.numpy()
    for name, (options, samples) in EXTRACTORS.items():
        extractor = ClapFeatureExtractor(**options)
        features = extractor._np_extract_fbank_features(
            waveform(samples, SEED + 80).astype(np.float64), extractor.mel_filters_slaney
        )
        arrays[f"{name}/log_mel"] = features.astype(np.float32)
        arrays[f"{name}/mel_matrix"] = extractor.mel_filters_slaney[::4].astype(np.float32)
    for size, to in ((249, 256), (1, 5), (2, 9), (7, 7), (1001, 1024), (48, 64)):
        signal = torch.tensor(np.random.default_rng(size).standard_normal((1, 1, size, 1)) * 30).float()
        stretched = torch.nn.functional.interpolate(signal, (to, 1), mode="bicubic", align_corners=True)
        arrays[f"interpolate/{size}/{to}"] = stretched[0, 0, :, 0].numpy()
    folder = Path(__file__).parent
    np.savez_compressed(folder / "htsat_records.npz", **arrays)
    text = json.dumps(shapes, separators=(",", ":"))
    (folder / "htsat_records.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
