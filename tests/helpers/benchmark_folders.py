"""Small folders in the layouts of the benchmarks, quirks included, with generated sounds."""

import csv

import numpy as np
import soundfile

from data_pipelines.render.corpus import render_corpus
from data_pipelines.render.recipe import Clip, Recipe

SUITE_FILES = {
    "audiosep": "*_eval.csv",
    "dcase": "lass_synthetic_validation.csv",
    "voicebank": "log_testset.txt",
}
AUDIOSET_CLASSES = ("Speech", "Male speech, man speaking", "Bow-wow")
MUSIC_CLASSES = ("accordion", "acoustic guitar", "erhu")


def tone(seed, samples, rate):
    """A hum with partials that fades in and out, different for every seed."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / rate
    partials = sum(
        rng.uniform(0.2, 1) * np.sin(2 * np.pi * hertz * t + rng.uniform(0, 6))
        for hertz in rng.uniform(90, 3000, 4)
    )
    return (0.1 * partials * np.sin(np.pi * np.arange(samples) / samples)).astype(np.float32)


def write_sound(path, waveform, rate):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, rate, subtype="FLOAT")


def write_table(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def write_pair(target_path, mixture_path, seed, *, rate, samples):
    target, noise = tone(seed, samples, rate), tone(seed + 10_000, samples, rate)
    gain = 0.3 + np.random.default_rng(seed).uniform(0, 1)
    write_sound(target_path, target, rate)
    write_sound(mixture_path, target + np.float32(gain) * noise, rate)


def audiosep(root, metadata, *, rate=32_000, per_class=2, rows=6):
    """Writes all six datasets; lengths differ from dataset to dataset and by a few samples within."""

    def pair(folder, index, seed, seconds):
        samples = round(seconds * rate) + 3 * (index % 2)
        write_pair(
            root / folder / f"segment-{index}.wav",
            root / folder / f"mixture-{index}.wav",
            seed,
            rate=rate,
            samples=samples,
        )

    table = []
    for number, caption in enumerate(AUDIOSET_CLASSES):
        # Odd counts make the median one of the values, even counts the mean of two.
        for index in range(per_class + number):
            names = [
                f"class_id={number}/class_id={number},index={index:03d},{kind}.wav"
                for kind in ("source", "mixture")
            ]
            write_pair(
                *(root / "audioset" / name for name in names),
                100 * number + index,
                rate=rate,
                samples=rate // 2,
            )
            table.append([number, caption, *(f"evaluation/data/audioset/{name}" for name in names)])
    write_table(metadata / "audioset_eval.csv", ["idx", "caption", "src_wav", "noise_wav"], table)

    table = []
    for index in range(rows):
        name = f"-JUB{index % 3}o8H_000030+++m0kx{index}_000001"
        write_pair(
            root / f"vggsound/data/s0_wav/{name}.wav",
            root / f"vggsound/data/mix_wav/{name}.wav",
            1000 + index,
            rate=rate,
            samples=rate // 2 + index,
        )
        paths = [f"data/{kind}_wav/{name}.wav" for kind in ("mix", "s0", "s1")]
        label = ("playing accordion", "dog, barking")[index % 2]
        table.append([name, *paths[:2], label, paths[2], "sea lion barking"])
    header = ["file_id", "mix_wav", "s0_wav", "s0_text", "s1_wav", "s1_text"]
    write_table(metadata / "vggsound_eval.csv", header, table)

    table = []
    for index in range(rows):
        pair("audiocaps", index, 2000 + index, 0.6)
        table.append(
            [
                index,
                f'A man says "{index}", then a dog barks',
                "Speech Inside, public space",
                f"Y{index % 3}fmO.wav",
                "Y-aY.wav",
            ]
        )
    write_table(metadata / "audiocaps_eval.csv", ["idx", "caption", "labels", "src_wav", "noise_wav"], table)

    table = []
    for index in range(rows):
        pair("clotho", index, 3000 + index, 0.7)
        table.append([index, f"Machine {index} whines.", f"Santa Motor{index // 5}.wav", "a, b.wav", "c.wav"])
    # Clotho's header names a column twice.
    write_table(
        metadata / "clotho_eval.csv", ["idx", "caption", "src_wav", "noise_wav1", "noise_wav1"], table
    )

    table = []
    for index in range(rows + 1):
        pair("music", index, 4000 + index, 0.5)
        instrument = MUSIC_CLASSES[0 if index < 3 else 1 + index % 2]
        table.append([index, instrument, f"Y1m_{instrument[0]}_{index}.wav", "YX4_6.wav"])
    write_table(metadata / "music_eval.csv", ["idx", "caption", "src_wav", "noise_wav"], table)

    table = []
    for index in range(rows):
        pair("esc50", index, 5000 + index, 0.4)
        table.append(
            [index, ("dog", "chirping birds")[index % 2], f"1-{1000 + index // 2}-A-0.wav", "5-2-D-29.wav"]
        )
    write_table(metadata / "esc50_eval.csv", ["idx", "caption", "src_wav", "noise_wav"], table)


def dcase(root, metadata, *, rate=16_000, rows=5):
    """Writes sources and noises; a row says at which SNR they are mixed. One mixture exceeds full scale."""
    table = []
    for index in range(rows):
        samples = rate // 2
        write_sound(
            root / f"lass_validation/s{index}.wav", (1 + 2 * (index == 0)) * tone(index, samples, rate), rate
        )
        write_sound(root / f"lass_validation/n {index}.wav", tone(500 + index, samples, rate), rate)
        table.append([f"s{index}", f"n {index}", (-15, 0, 7)[index % 3], f"A hum, number {index}"])
    write_table(metadata / "lass_synthetic_validation.csv", ["source", "noise", "snr", "caption"], table)


def voicebank(root, metadata, *, rate=48_000, rows=4, seconds=0.8):
    """Writes clean and noisy utterances of different lengths, and the log of noises and SNRs."""
    lines = []
    for index in range(rows):
        name, samples = f"p232_{index + 1:03d}", round(seconds * rate) + 4000 * index
        write_pair(
            root / f"clean_testset_wav/{name}.wav",
            root / f"noisy_testset_wav/{name}.wav",
            7000 + index,
            rate=rate,
            samples=samples,
        )
        lines.append(f"{name} {('bus', 'living')[index % 2]} {(2.5, 17.5)[index // 2 % 2]}")
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "log_testset.txt").write_text("\n".join(lines) + "\n", "utf-8")


def rendered(root, *, rate=16_000, recordings=("",) * 4, **recipe):
    """Renders a corpus of four mixtures from four clips of two classes."""
    clips = []
    for index in range(4):
        file, label = f"clip{index}.wav", ("dog", "rain")[index % 2]
        write_sound(root / "clips" / file, tone(index, rate, rate), rate)
        caption = f"a {label}, number {index}"
        clips.append(Clip(file=file, labels=(label,), captions=(caption,), recording=recordings[index]))
    recipe = Recipe(per_class=2, seconds=0.5, sample_rate_hz=rate, **recipe)
    render_corpus(clips, recipe, name="mine", root=root / "clips", out=root / "corpus")
    return root / "corpus"
