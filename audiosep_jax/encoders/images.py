"""Images for the vision tower: read from files as RGB, resized, cropped and normalized."""

import dataclasses
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from audiosep_jax.encoders import model_files
from audiosep_jax.errors import AudioSepError, EncoderError, QueryError
from audiosep_jax.utils.serialization import from_dict

# transformers 5 writes the settings to the first file, below the key `image_processor`; older versions to the
# second.
SETTINGS_FILES = ("processor_config.json", "preprocessor_config.json")

# A resized image has more pixels than this only if it is very narrow.
MOST_RESIZED_PIXELS = 1 << 26


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How an image is prepared for the tower; fields are named as in transformers' settings."""

    size: tuple[int, ...]  # `(shorter edge,)`, or `(height, width)`, which changes the proportions
    crop_size: tuple[int, int]  # height and width, from the centre
    do_resize: bool = True
    resample: int = int(Image.Resampling.BICUBIC)
    do_center_crop: bool = True
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    # Of red, green and blue, after rescaling. CLIP's values, github.com/openai/CLIP, clip/clip.py.
    image_mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    image_std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    def __post_init__(self) -> None:
        if len(self.size) not in (1, 2) or min(*self.size, *self.crop_size) <= 0:
            raise EncoderError(f"size {self.size} and crop_size {self.crop_size} must be positive lengths.")
        if self.resample not in list(Image.Resampling):
            raise EncoderError(
                f"resample is {self.resample}: Pillow has {[int(r) for r in Image.Resampling]}."
            )
        if min(self.image_std) <= 0:
            raise EncoderError(f"image_std is {self.image_std}: positive numbers are needed.")


def load_preprocessing(folder: str | Path, *, image_size: int) -> Preprocessing:
    """Reads the settings of a transformers image processor; missing ones take CLIP's values.

    Raises:
      EncoderError: the file is broken, or it does not make squares of `image_size` pixels.
    """
    path, values = _settings(Path(folder))
    names = {field.name for field in dataclasses.fields(Preprocessing)}
    given = {name: value for name, value in values.items() if name in names and value is not None}
    given["size"] = _lengths(given.get("size", image_size), path)
    crop = _lengths(given.get("crop_size", image_size), path)
    given["crop_size"] = crop * 2 if len(crop) == 1 else crop
    try:
        preprocessing = from_dict(Preprocessing, given, where=path.name, kind=EncoderError)
    except AudioSepError as error:
        raise EncoderError(f"{path} cannot be used: {error}") from None
    cropped = preprocessing.do_center_crop
    result = preprocessing.crop_size if cropped else preprocessing.size if preprocessing.do_resize else ()
    if result != (image_size, image_size):
        raise EncoderError(
            f"{path} does not make images of {image_size} × {image_size} pixels, which the model takes: "
            "the files do not belong together; download the model again."
        )
    return preprocessing


def read_image(path: str | Path) -> UInt8[np.ndarray, "height width 3"]:
    """Reads an image file as a viewer shows it: rotated by its EXIF data, transparency on white.

    An animation gives its first frame.

    Raises:
      QueryError: the file is missing, broken, too large, or in a format that Pillow cannot read.
    """
    path = Path(path)
    if not path.is_file():
        raise QueryError(f"{path} does not exist: give an image file.")
    return _read(path, str(path))


def decode_image(content: bytes, *, name: str) -> UInt8[np.ndarray, "height width 3"]:
    """Decodes the bytes of a whole image file, as `read_image` does; errors name it `name`.

    Raises:
      QueryError: the image is broken, too large, or in a format that Pillow cannot read.
    """
    return _read(io.BytesIO(content), name)


def preprocess(
    image: UInt8[np.ndarray, "height width 3"], preprocessing: Preprocessing
) -> Float[np.ndarray, "rows columns 3"]:
    """Resizes, crops and normalizes an image as transformers' CLIPImageProcessor does with Pillow.

    Raises:
      QueryError: the image is too narrow to be resized.
    """
    if preprocessing.do_resize:
        height, width = _resized(image.shape[:2], preprocessing.size)
        if height * width > MOST_RESIZED_PIXELS:
            raise QueryError(
                f"An image of {image.shape[1]} × {image.shape[0]} pixels is too narrow: crop it."
            )
        resample = Image.Resampling(preprocessing.resample)
        image = np.asarray(Image.fromarray(image).resize((width, height), resample))
    if preprocessing.do_center_crop:
        image = _center_crop(image, preprocessing.crop_size)
    pixels = image.astype(np.float32)
    if preprocessing.do_rescale:
        pixels = (image.astype(np.float64) * preprocessing.rescale_factor).astype(np.float32)
    if preprocessing.do_normalize:
        mean, std = (np.asarray(v, np.float32) for v in (preprocessing.image_mean, preprocessing.image_std))
        pixels = (pixels - mean[None, None]) / std[None, None]
    return pixels


def _read(file: Path | io.BytesIO, name: str) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            # Pillow warns of many oddities that do no harm; it raises from twice its pixel limit on.
            warnings.simplefilter("ignore")
            with Image.open(file) as image:
                return _rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise QueryError(f"{name} is too large an image ({error}): give a smaller one.") from None
    except Image.UnidentifiedImageError:
        raise QueryError(f"{name} is no image that can be read: give a JPEG or PNG file.") from None
    except Exception as error:  # Pillow's readers raise many kinds for a broken file
        raise QueryError(f"{name} is a broken image file ({error}): save it again.") from error


def _settings(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Returns the file of the settings and its content; the newer file first, as transformers reads them."""
    newer, older = (folder / name for name in SETTINGS_FILES)
    if newer.is_file():
        values = model_files.read_json(newer).get("image_processor")
        if isinstance(values, dict):
            return newer, values
    return older, model_files.read_json(older) if older.is_file() else {}


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        # Pillow would clip 16 bits to 8 rather than scale them.
        gray = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are {image.mode!r} numbers of 32 bits, not colours")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


def _resized(shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, int]:
    """Returns height and width after resizing."""
    if len(size) == 2:
        return size[0], size[1]
    height, width = shape
    if width <= height:
        return int(size[0] * height / width), size[0]
    return size[0], int(size[0] * width / height)


def _center_crop(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crops the centre; pads a smaller image with black."""
    for axis, length in enumerate(size):
        if (lack := length - image.shape[axis]) > 0:
            before = (lack + 1) // 2
            padding = [(0, 0)] * 3
            padding[axis] = (before, lack - before)
            image = np.pad(image, padding)
        else:
            start = -lack // 2
            image = np.take(image, range(start, start + length), axis)
    return image


def _lengths(value: Any, path: Path) -> list[int]:
    """Returns `[shortest edge]` or `[height, width]` from any form that transformers writes."""
    if isinstance(value, dict):
        keys = ("shortest_edge",) if "shortest_edge" in value else ("height", "width")
        value = [value.get(key) for key in keys]
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(v, int) and not isinstance(v, bool) for v in values) or len(values) not in (1, 2):
        raise EncoderError(f"{path} has the size {value!r}: one or two numbers of pixels are needed.")
    return values
