"""Names that a checkpoint may mention although nothing is done with them."""

import re

# Classes that Lightning, its loggers and NumPy leave beside the weights. They become `Inert`.
_CLASSES = """
argparse.Namespace
pathlib.Path pathlib.PosixPath pathlib.WindowsPath pathlib._local.PosixPath pathlib._local.WindowsPath
pathlib.PurePath pathlib.PurePosixPath pathlib.PureWindowsPath
datetime.date datetime.datetime datetime.timedelta uuid.UUID typing.Any
collections.Counter collections.defaultdict collections.deque
numpy.ndarray numpy.dtype numpy.core.multiarray.scalar numpy._core.multiarray.scalar
numpy.core.multiarray._reconstruct numpy._core.multiarray._reconstruct
_codecs.encode copyreg._reconstructor copy_reg._reconstructor
torch.device torch.Generator torch.serialization._get_layout
"""
_BUILT_IN = (
    "object int long float complex str unicode bytes bytearray list tuple dict set frozenset slice range"
)
_HARMLESS = {
    *_CLASSES.split(),
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in _BUILT_IN.split()),
}
# Classes only: a function's name begins with a small letter, and a dot would reach into another module.
_HARMLESS_CLASSES = re.compile(
    r"(pytorch_lightning|lightning|lightning_fabric|lightning_utilities|torchmetrics|omegaconf)"
    r"(\.[a-z_]\w*)*\.[A-Z]\w*"
)


def is_harmless(name: str) -> bool:
    """Whether a full name is a class that training frameworks are known to leave beside the weights."""
    return name in _HARMLESS or _HARMLESS_CLASSES.fullmatch(name) is not None
