"""Devices to compile for: those of a TPU slice that need not exist, or those of this machine."""

import dataclasses
import importlib.util
import math
import os
import re

from audiosep_jax.aot.chips import Chip, chip_named
from audiosep_jax.errors import AudioSepError, DeviceError, MissingPackageError, UsageError

LOCAL = "local"
"""Name of the topology of this machine's devices."""

EXAMPLES = "v5e:2x2, v5e:16x16, v6e:4x8, v5p:2x2x2 or local"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Topology:
    """Devices to compile for: a slice with `sides` chips along its dimensions, such as "v5e:2x2".

    This machine's devices have the name "local" and no `chip`.
    """

    name: str
    chip: Chip | None
    sides: tuple[int, ...]
    devices: tuple

    @property
    def chips(self) -> int:
        """Number of chips."""
        return math.prod(self.sides)


def prepare_environment(name: str) -> None:
    """Keeps JAX and libtpu from using devices; call it before JAX is imported."""
    if name == LOCAL:
        return
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    # The cache could store a program for a missing chip, but only the chip can load it.
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"
    # Without these two libtpu complains about a machine without a TPU; it does not use their values.
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_STDERR_LOG_LEVEL", "3")
    # libtpu's lock guards chips; without one, two compilers may run at a time.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")


def parse_topology(name: str) -> tuple[Chip, tuple[int, ...]]:
    """Returns chip and sides of a name such as "v5e:2x4".

    Examples:
      >>> chip, sides = parse_topology("v5e:2x4")
      >>> chip.name, sides
      ('v5e', (2, 4))

    Raises:
      UsageError: it is not of that form, or no slice has these sides.
    """
    match = re.fullmatch(r"([\w-]+)[:=](\d+(?:x\d+){0,2})", name)
    if match is None:
        raise UsageError(f"--topology {name!r} is not CHIP:SIDES: write for example {EXAMPLES}.")
    try:
        chip = chip_named(match[1])
    except AudioSepError as error:
        raise UsageError(f"--topology {name!r}: {error}") from error
    sides = tuple(int(side) for side in match[2].split("x"))
    if len(sides) != chip.dimensions or not all(sides):
        example = {2: f"{chip.name}:2x4", 3: f"{chip.name}:2x2x2"}[chip.dimensions]
        raise UsageError(
            f"--topology {name!r}: a slice of {chip.name} has {chip.dimensions} sides, as in {example}."
        )
    return chip, sides


def make_topology(name: str) -> Topology:
    """Returns the devices of a topology.

    Raises:
      AudioSepError: the name is not of the form "v5e:2x4", or libtpu is missing or knows no such slice.
    """
    if name == LOCAL:
        import jax

        devices = tuple(jax.devices())
        return Topology(name=name, chip=None, sides=(len(devices),), devices=devices)
    chip, sides = parse_topology(name)
    if importlib.util.find_spec("libtpu") is None:
        raise MissingPackageError(
            f"--topology {name} needs the TPU compiler, which is not installed: "
            "pip install 'audiosep_jax[tpu]' (700 MB; no TPU is needed)."
        )
    from jax.experimental import topologies

    options: dict = {"chip_config_name": chip.config} if chip.config else {}
    if math.prod(sides) < 4 or sides == (2, 4):
        # A host of a larger slice holds 2x2 chips; each of these slices is a single host.
        options["chips_per_host_bounds"] = (*sides, 1, 1)[:3]
    canonical = f"{chip.name}:{'x'.join(map(str, sides))}"
    try:
        found = topologies.get_topology_desc(topology_name=canonical, platform="tpu", **options).devices
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DeviceError(
            f"--topology {name}: the TPU compiler knows no such slice ({reason}); try {EXAMPLES}."
        ) from error
    return Topology(name=canonical, chip=chip, sides=sides, devices=tuple(found))
