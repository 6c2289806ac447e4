import json
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from audiosep_jax.encoders import images
from audiosep_jax.encoders.images import load_preprocessing, preprocess, read_image
from audiosep_jax.errors import AudioSepError

DATA = Path(__file__).parents[1] / "data"
RECORD = np.load(DATA / "clip_images.npz")

# As in make_clip_records.py: height, width, preprocessor_config.json.
SQUARE = {"size": {"shortest_edge": 12}, "crop_size": {"height": 12, "width": 12}}
CASES = {
    "landscape": (20, 33, {"size": 12, "crop_size": 12}),
    "portrait": (41, 17, SQUARE),
    "enlarged": (5, 7, SQUARE),
    "padded": (40, 31, SQUARE | {"size": {"shortest_edge": 9}}),
    "odd": (28, 19, SQUARE | {"size": {"shortest_edge": 15}}),
    "uncropped": (9, 30, {"size": {"height": 12, "width": 12}, "do_center_crop": False}),
    "other_numbers": (
        18,
        18,
        SQUARE
        | {
            "resample": 2,
            "rescale_factor": 0.01,
            "image_mean": [0.5, 0.4, 0.3],
            "image_std": [0.2, 0.5, 1.0],
        },
    ),
    "raw": (14, 12, SQUARE | {"do_rescale": False, "do_normalize": False}),
}


def noise(height, width, seed=7):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height, width):
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * y / height, 255 * x / width, 128 + 0 * x], axis=2).astype(np.uint8)


def write_settings(folder, values):
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize("name", list(CASES))
def test_pixels_are_those_of_transformers(name, tmp_path):
    height, width, values = CASES[name]
    preprocessing = load_preprocessing(write_settings(tmp_path, values), image_size=12)
    pixels = preprocess(noise(height, width), preprocessing)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, RECORD[name], rtol=0, atol=2e-6 * np.abs(RECORD[name]).max())


def test_without_settings_the_values_are_those_of_clip(tmp_path):
    preprocessing = load_preprocessing(tmp_path, image_size=12)
    assert preprocessing == load_preprocessing(write_settings(tmp_path, SQUARE), image_size=12)
    pixels = preprocess(noise(41, 17), preprocessing)
    np.testing.assert_allclose(pixels, RECORD["portrait"], rtol=0, atol=1e-5)


def test_the_newer_form_of_the_settings_is_preferred(tmp_path):
    height, width, values = CASES["other_numbers"]
    write_settings(tmp_path, {"crop_size": 224})
    newer = tmp_path / "processor_config.json"
    # Another processor's settings alone say nothing about images.
    newer.write_text('{"feature_extractor": {"size": 3}}')
    with pytest.raises(AudioSepError, match=r"preprocessor_config\.json does not make images of"):
        load_preprocessing(tmp_path, image_size=11)
    newer.write_text(json.dumps({"image_processor": values, "processor_class": "CLIPProcessor"}))
    pixels = preprocess(noise(height, width), load_preprocessing(tmp_path, image_size=12))
    np.testing.assert_allclose(pixels, RECORD["other_numbers"], rtol=0, atol=1e-5)
    with pytest.raises(AudioSepError, match=r"/processor_config\.json does not make images of"):
        load_preprocessing(tmp_path, image_size=11)


@given(height=st.integers(1, 90), width=st.integers(1, 90), size=st.integers(1, 20), edge=st.integers(1, 30))
@settings(max_examples=60)
def test_every_picture_becomes_a_square_of_the_towers_size(height, width, size, edge):
    preprocessing = images.Preprocessing(size=(edge,), crop_size=(size, size))
    assert preprocess(noise(height, width), preprocessing).shape == (size, size, 3)


def test_a_very_narrow_image_is_refused():
    preprocessing = images.Preprocessing(size=(224,), crop_size=(224, 224))
    with pytest.raises(AudioSepError, match=r"1 × 300000 pixels is too narrow"):
        preprocess(np.zeros((300_000, 1, 3), np.uint8), preprocessing)


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"size": 16, "crop_size": 16}, "does not make images of 12 × 12 pixels"),
        ({"size": 12, "do_center_crop": False}, "does not make images of 12 × 12 pixels"),
        ({"do_resize": False, "do_center_crop": False}, "does not make images of 12 × 12 pixels"),
        ({"size": "large"}, "has the size"),
        ({"size": {"longest_edge": 3}}, "has the size"),
        ({"size": [1, 2, 3]}, "has the size"),
        ({"size": 0}, "must be positive"),
        ({"resample": 9}, "resample is 9"),
        ({"image_std": [1, 0, 1]}, "image_std is"),
        ({"image_mean": [0.5]}, "image_mean has 1 entries"),
        ({"do_resize": "yes"}, "do_resize is 'yes'"),
    ],
)
def test_unfit_settings_are_refused_with_their_file(tmp_path, values, part):
    write_settings(tmp_path, values)
    with pytest.raises(AudioSepError, match=str(tmp_path / "preprocessor_config.json")) as caught:
        load_preprocessing(tmp_path, image_size=12)
    assert part in str(caught.value)


# EXIF orientation -> what a viewer does to the stored pixels.
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", list(TURNS))
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_an_image_is_rotated_by_its_exif_data(tmp_path, orientation, kind):
    stored = smooth(24, 40)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"picture.{kind}"
    Image.fromarray(stored).save(path, exif=exif)
    shown = read_image(path)
    assert shown.dtype == np.uint8
    assert shown.flags.writeable
    # JPEG alters the values: what the file holds as it lies there is what must turn.
    np.testing.assert_array_equal(shown, TURNS[orientation](np.asarray(Image.open(path))))
    np.testing.assert_allclose(shown.astype(int), TURNS[orientation](stored).astype(int), atol=40)


def test_transparency_is_white(tmp_path):
    picture = np.dstack([smooth(6, 8), np.full((6, 8), 255, np.uint8)])
    picture[:3, :, 3] = 0
    Image.fromarray(picture).save(tmp_path / "a.png")
    shown = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(shown[:3], 255)
    np.testing.assert_array_equal(shown[3:], picture[3:, :, :3])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr", "I;16"])
def test_every_kind_of_colours_becomes_rgb(tmp_path, mode):
    gray = np.linspace(0, 255, 48).astype(np.uint8).reshape(6, 8)
    if mode == "I;16":
        Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "a.png")
        expected = np.repeat(gray[..., None], 3, axis=2)
    else:
        picture = Image.fromarray(gray).convert("RGB").convert(mode)
        picture.save(tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png"))
        expected = np.asarray(picture.convert("RGB"))
    shown = read_image(next(tmp_path.iterdir()))
    assert shown.shape == (6, 8, 3)
    np.testing.assert_allclose(shown.astype(int), expected.astype(int), atol=1)


def test_a_palette_with_transparent_entries_is_read_without_a_warning(tmp_path):
    picture = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8) % 4, "P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    picture.save(tmp_path / "a.png", transparency=bytes([0, 255, 255, 255]))
    shown = read_image(tmp_path / "a.png")
    assert shown[0, :4].tolist() == [[255, 255, 255], [0, 255, 0], [0, 0, 255], [9, 9, 9]]


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.fromarray(np.full((5, 5, 3), shade, np.uint8)) for shade in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(read_image(tmp_path / "a.gif").astype(int), 10, atol=2)


def png_of(width, height):
    """A small file that claims to be a large picture."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


def test_a_decompression_bomb_is_refused_before_decoding(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_of(60_000, 60_000))
    with pytest.raises(AudioSepError, match=r"bomb\.png is too large an image .*give a smaller one"):
        read_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "tif", "webp"])
def test_a_truncated_file_is_refused_with_its_name(tmp_path, kind):
    path = tmp_path / f"picture.{kind}"
    Image.fromarray(noise(30, 40)).save(path)
    whole = path.read_bytes()
    for kept in (0.7, 0.3, 0.02, 0):
        path.write_bytes(whole[: int(len(whole) * kept)])
        with pytest.raises(AudioSepError, match=str(path)):
            read_image(path)


@given(
    place=st.integers(0, 400), value=st.integers(0, 255), kind=st.sampled_from(["png", "jpg", "gif", "tif"])
)
@settings(max_examples=80)
def test_a_damaged_file_gives_an_image_or_one_error(place, value, kind, tmp_path_factory):
    path = tmp_path_factory.mktemp("damage") / f"picture.{kind}"
    Image.fromarray(noise(9, 9)).save(path)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(content)
    try:
        with warnings.catch_warnings(record=True) as caught, pytest.MonkeyPatch.context() as patch:
            # A damaged header may claim any size: unpacking the largest that is allowed takes seconds.
            patch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
            assert read_image(path).ndim == 3
    except AudioSepError as error:
        caught = []
        if str(path) not in str(error):
            raise
    assert not caught


def test_a_file_that_is_no_image_is_named(tmp_path):
    with pytest.raises(AudioSepError, match="does not exist"):
        read_image(tmp_path / "nothing.png")
    with pytest.raises(AudioSepError, match="does not exist"):
        read_image(tmp_path)
    (tmp_path / "sound.wav").write_bytes(b"RIFF    WAVEfmt ")
    with pytest.raises(AudioSepError, match=r"sound\.wav is no image"):
        read_image(str(tmp_path / "sound.wav"))
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "depth.tif")
    with pytest.raises(AudioSepError, match=r"depth\.tif .*32 bits, not colours"):
        read_image(tmp_path / "depth.tif")
