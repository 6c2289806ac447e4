"""Makes the records of CLIP with transformers 5.23. No test runs this.

`python make_clip_records.py towers` needs PyTorch (2.13.0), `… processors` needs Pillow.
"""

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "helpers"))

# As in a config.json; what is missing is left to transformers' defaults.
CONFIGS = {
    "gelu": {
        "projection_dim": 12,
        "text_config": {
            "hidden_size": 16,
            "intermediate_size": 40,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "hidden_act": "gelu",
            "vocab_size": 97,
            "max_position_embeddings": 20,
            "eos_token_id": 96,
        },
        "vision_config": {
            "hidden_size": 20,
            "intermediate_size": 30,
            "num_hidden_layers": 1,
            "num_attention_heads": 5,
            "hidden_act": "gelu",
            # Pixels beyond the fourth patch are left over.
            "image_size": 30,
            "patch_size": 7,
        },
    },
    "legacy": {
        "projection_dim": 7,
        "text_config": {
            "hidden_size": 24,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 3,
            "vocab_size": 60,
            "max_position_embeddings": 9,
            # Not the token that ends the texts: the highest one does.
            "eos_token_id": 2,
        },
        "vision_config": {
            "hidden_size": 8,
            "intermediate_size": 24,
            "num_hidden_layers": 4,
            "num_attention_heads": 1,
            "image_size": 16,
            "patch_size": 16,
        },
    },
    "tanh": {
        "projection_dim": 33,
        "text_config": {
            "hidden_size": 12,
            "intermediate_size": 20,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "hidden_act": "gelu_new",
            "layer_norm_eps": 1e-3,
            "vocab_size": 50,
            "max_position_embeddings": 16,
            "eos_token_id": 11,
        },
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 8,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "hidden_act": "gelu_pytorch_tanh",
            "layer_norm_eps": 1e-6,
            "image_size": 24,
            "patch_size": 4,
        },
    },
    "defaults": {
        # The second description is the one that counts, and leaves heads, activation and epsilon out.
        "text_config": {"hidden_size": 40, "hidden_act": "relu", "vocab_size": 9},
        "text_config_dict": {
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "vocab_size": 64,
            "max_position_embeddings": 12,
            "eos_token_id": 63,
        },
        "vision_config": {
            "hidden_size": 24,
            "intermediate_size": 20,
            "num_hidden_layers": 2,
            "image_size": 24,
            "patch_size": 12,
        },
    },
}

IMAGES = {
    # Name: height, width, and what preprocessor_config.json says of a tower of 12 × 12 pixels.
    "landscape": (20, 33, {"size": 12, "crop_size": 12}),
    "portrait": (41, 17, {"size": {"shortest_edge": 12}, "crop_size": {"height": 12, "width": 12}}),
    "enlarged": (5, 7, {"size": {"shortest_edge": 12}, "crop_size": {"height": 12, "width": 12}}),
    "padded": (40, 31, {"size": {"shortest_edge": 9}, "crop_size": {"height": 12, "width": 12}}),
    "odd": (28, 19, {"size": {"shortest_edge": 15}, "crop_size": {"height": 12, "width": 12}}),
    "uncropped": (9, 30, {"size": {"height": 12, "width": 12}, "do_center_crop": False}),
    "other_numbers": (
        18,
        18,
        {
            "size": 12,
            "crop_size": 12,
            "resample": 2,
            "rescale_factor": 0.01,
            "image_mean": [0.5, 0.4, 0.3],
            "image_std": [0.2, 0.5, 1.0],
        },
    ),
    "raw": (14, 12, {"size": 12, "crop_size": 12, "do_rescale": False, "do_normalize": False}),
}

TEXTS = [
    "dog",
    "A dog barking.",
    "  rain   on\na tin\troof ",
    "Café, ÉCOLE and naïve",
    "Cafe\u0301 decomposed",
    "it's 12 o'clock; they'll WAIT, don't!!",
    "雨の音 und Glocken läuten",
    "🐕 woof 🐕‍🦺",
    "İstanbul ǅ ß ﬁ",
    "no\u00a0break\u2003space",
    "#version of a_siren__wails---far",
    "<|startoftext|> dog <|endoftext|> rain",
    "<s>dog</s> <mask> rain <pad>",
]

CORPUS = [
    "a dog barking in the rain on a tin roof and a siren wails far away",
    "rain and wind and the barking of dogs; they wait and wait, it's 12 o'clock, don't wait!",
    "Glocken läuten und Café décomposé, the sound of water and of a siren",
]


def text_ids(config):
    """Three rows that end at different places, with other tokens after the end."""
    text = config.get("text_config_dict") or config["text_config"]
    length, vocabulary = text["max_position_embeddings"], text["vocab_size"]
    last = text["eos_token_id"] if text["eos_token_id"] != 2 else vocabulary - 1
    ids = np.random.default_rng(5).integers(0, vocabulary - 1, (3, length))
    ids[ids == last] = 0
    for row, place in enumerate((2, length // 2, length - 1)):
        ids[row, place] = last
    # A second one, which must not count.
    ids[0, -1] = last
    return ids


def pixels(config):
    size = config["vision_config"]["image_size"]
    return np.random.default_rng(6).standard_normal((2, size, size, 3)).astype(np.float32)


def picture(name):
    height, width, _ = IMAGES[name]
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def towers():
    import torch
    from golden_inputs import reference_tensor
    from transformers import CLIPConfig, CLIPModel

    described, arrays = {}, {}
    for name, config in CONFIGS.items():
        model = CLIPModel(CLIPConfig(**json.loads(json.dumps(config)))).eval()
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        model.load_state_dict({key: torch.tensor(reference_tensor(key, s)) for key, s in shapes.items()})
        with torch.no_grad():
            text = model.text_projection(model.text_model(torch.tensor(text_ids(config))).pooler_output)
            images = torch.tensor(pixels(config)).permute(0, 3, 1, 2)
            image = model.visual_projection(model.vision_model(images).pooler_output)
        described[name] = {"config": {"model_type": "clip"} | config, "shapes": shapes}
        arrays |= {f"{name}/text_embeds": text.numpy(), f"{name}/image_embeds": image.numpy()}
    (HERE / "clip_towers.json").write_text(json.dumps(described, separators=(",", ":")) + "\n")
    np.savez_compressed(HERE / "clip_towers.npz", **arrays)


def processors():
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    arrays = {}
    for name, (_, _, settings) in IMAGES.items():
        processor = CLIPImageProcessorPil(**settings)
        arrays[name] = np.asarray(processor(picture(name))["pixel_values"][0], np.float32).transpose(1, 2, 0)
    np.savez_compressed(HERE / "clip_images.npz", **arrays)
    tokenizer_records()


def tokenizer_records():
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer, RobertaTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    for name, kind, suffix, before, after in (
        ("clip", CLIPTokenizer, "</w>", [], ["<|startoftext|>", "<|endoftext|>"]),
        ("roberta", RobertaTokenizer, "", ["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"]),
    ):
        ending = {"end_of_word_suffix": suffix} if suffix else {}
        tokenizer = Tokenizer(models.BPE(**ending))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(vocab_size=700, show_progress=False, min_frequency=2, **ending)
        tokenizer.train_from_iterator([t.lower() if suffix else t for t in CORPUS], trainer)
        merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
        single = letters + ([letter + suffix for letter in letters] if suffix else [])
        merged = [a + b for a, b in merges]
        vocabulary = {token: i for i, token in enumerate([*before, *single, *merged, *after])}
        assert len(vocabulary) == len(before) + len(single) + len(merged) + len(after)
        folder = HERE / f"tiny_{name}_tokenizer"
        folder.mkdir(exist_ok=True)
        (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False, indent=0), "utf-8")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
        (folder / "config.json").write_text(json.dumps({"model_type": name}) + "\n")
        theirs = kind.from_pretrained(folder)
        record = [[text, theirs(text)["input_ids"]] for text in TEXTS]
        (folder / "expected.json").write_text(json.dumps(record, ensure_ascii=False, indent=0), "utf-8")


if __name__ == "__main__":
    {"towers": towers, "processors": processors}[sys.argv[1]]()
