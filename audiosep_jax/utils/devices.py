"""JAX's devices, for commands: libtpu is not loaded without a TPU, and a missing device is one sentence."""

import importlib.metadata
import importlib.util
import os
import pkgutil
import sys
from pathlib import Path

from audiosep_jax.errors import DeviceError, shown

_USERS_CHOICE = ("JAX_PLATFORMS", "JAX_FORCE_TPU_INIT", "TPU_LIBRARY_PATH", "PJRT_NAMES_AND_LIBRARY_PATHS")
"""Variables with which a user chooses devices; where one is set, JAX decides as it always does."""

_GOOGLE = "0x1ae0"
_NETWORK_OR_STORAGE = ("0x01", "0x02")
"""PCI classes of Google's other devices, which every machine of its cloud has."""


def skip_libtpu_without_tpu(root: Path = Path("/")) -> None:
    """Keeps JAX from loading an installed libtpu on a machine without a TPU; call it before JAX is imported.

    There libtpu prints errors and waits for a metadata server. JAX tries every platform unless JAX_PLATFORMS
    names some, so this names the others. It does nothing on a machine with a TPU, without libtpu, with
    JAX plugins of unknown platforms, or where the user chose a platform. Tests give another `root` of the
    file system.
    """
    chosen = any(name in os.environ for name in _USERS_CHOICE)
    if chosen or importlib.util.find_spec("libtpu") is None or has_tpu(root):
        return
    plugins = _plugins()
    gpus = [name for name in ("cuda", "rocm") if any(name in plugin for plugin in plugins)]
    if all(any(name in plugin for name in gpus) for plugin in plugins):
        os.environ["JAX_PLATFORMS"] = ",".join([*gpus, "cpu"])


def has_tpu(root: Path = Path("/")) -> bool:
    """Tells whether this machine has a TPU chip: its device file, or a PCI device of Google that may be one.

    JAX knows the identifiers of today's chips; this also accepts tomorrow's. VFIO devices may be others, too.
    """
    if any(root.glob("dev/accel[0-9]*")) or any(root.glob("dev/vfio/[0-9]*")):
        return True
    for vendor in root.glob("sys/bus/pci/devices/*/vendor"):
        try:
            google = vendor.read_text().strip() == _GOOGLE
            if google and not vendor.with_name("class").read_text().startswith(_NETWORK_OR_STORAGE):
                return True
        except OSError:
            continue
    return False


def device_error() -> DeviceError | None:
    """Returns why JAX has no device, or None where it has one or was not imported.

    A command calls it after an error: JAX looks for devices at the first computation, wherever that is, and
    ends in an AssertionError or a RuntimeError.
    """
    jax = sys.modules.get("jax")
    if jax is None:
        return None
    try:
        jax.local_devices()
    except Exception as error:
        platforms = os.environ.get("JAX_PLATFORMS", "")
        reason = str(error).partition(" (set JAX_PLATFORMS")[0].rstrip(".")
        found = f"no device for JAX_PLATFORMS={shown(platforms)}" if platforms else "no device"
        advice = (
            "set JAX_PLATFORMS=cpu, or unset it to let JAX choose" if platforms else "set JAX_PLATFORMS=cpu"
        )
        because = f" ({shown(' '.join(reason.split()))})" if reason else ""
        return DeviceError(f"JAX finds {found} on this machine{because}: {advice}.")
    return None


def _plugins() -> set[str]:
    """Returns the names of installed JAX plugins, which JAX finds in the same two ways."""
    namespace = importlib.util.find_spec("jax_plugins")
    folders = list(namespace.submodule_search_locations or ()) if namespace else []
    names = {module.name for module in pkgutil.iter_modules(folders)}
    return names | {entry.value for entry in importlib.metadata.entry_points(group="jax_plugins")}
