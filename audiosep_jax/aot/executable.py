"""Writes a compiled train step to a file and loads it: compiled once, and loaded by every host of a run."""

import functools
import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable
from jax.sharding import Mesh

from audiosep_jax.aot.report import versions
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import DeviceError, listed, printable
from audiosep_jax.train.setup import CompiledStep
from audiosep_jax.utils.serialization import to_dict

_MAGIC = b"audiosep executable 1\n"
_LONGEST_FACTS = 1 << 20
_TRAIN_FIELDS = ("steps", "batch_size", "loss", "ema_decay", "on_non_finite")
_ROOMS = ("audio", "config", "models", "train")


def pack(compiled: jax.stages.Compiled, config: ExperimentConfig, mesh: Mesh) -> bytes:
    """Returns the file content of a compiled step, with the facts that must be the same where it is loaded.

    Raises:
      DeviceError: programs of this platform cannot be written.
    """
    try:
        payload, in_tree, out_tree = serialize_executable.serialize(compiled)
    except Exception as error:
        raise DeviceError(f"this executable cannot be written: {error}.") from error
    body = pickle.dumps((payload, in_tree, out_tree))
    facts = facts_of(config, mesh) | {"sha256": hashlib.sha256(body).hexdigest()}
    header = json.dumps(facts).encode() + b"\n"
    return _MAGIC + header + body


def load_executable(path: str | Path, config: ExperimentConfig, mesh: Mesh) -> CompiledStep:
    """Returns a step like that of `make_train_step`, from a file that `audiosep compile --save` wrote.

    Only load files that you have written yourself: a compiled program is code, and loading it runs code. The
    fields that shape the step must be the same in both configs, and the devices in the same arrangement.

    Raises:
      DeviceError: the file is missing, damaged or no executable; or versions, devices, mesh or config differ.
    """
    facts, body = _read(Path(path))
    found = facts_of(config, mesh)
    changes = [
        f"{name} is {_brief(found.get(name))} here and was {_brief(facts.get(name))}"
        for name in found
        if found[name] != facts.get(name)
    ]
    if changes:
        raise DeviceError(
            f"{printable(path)} was compiled for something else: {listed(changes, separator='; ')}. "
            "Compile it again with `audiosep compile --save`, or train without --executable."
        )
    devices = sorted(mesh.devices.flat, key=lambda device: device.id)
    try:
        payload, in_tree, out_tree = pickle.loads(body)
        return serialize_executable.deserialize_and_load(
            payload, in_tree, out_tree, backend=devices[0].client, execution_devices=devices
        )
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DeviceError(
            f"{printable(path)} cannot be loaded on these devices ({reason}): train without --executable."
        ) from error


def facts_of(config: ExperimentConfig, mesh: Mesh) -> dict[str, Any]:
    """Returns everything that a compiled step depends on, as plain JSON values."""
    devices = sorted(mesh.devices.flat, key=lambda device: device.id)
    known = versions()
    facts = {
        "source": _source(),
        "jax": known["jax"],
        # A program for the CPU or a GPU does not depend on it.
        "libtpu": known["libtpu"] if devices[0].platform == "tpu" else "",
        "device": devices[0].device_kind,
        "devices": len(devices),
        "places": [[device.id, *getattr(device, "coords", ())] for device in devices],
        "mesh": {name: int(size) for name, size in mesh.shape.items()},
        "order": [int(device.id) for device in mesh.devices.flat],
    }
    values = to_dict(config)
    for part in ("model", "optimizer", "execution"):
        facts |= {f"{part}.{name}": value for name, value in values[part].items()}
    for name in ("sources", "segment_seconds"):
        facts[f"mixture.{name}"] = values["mixture"][name]
    # The ratio is an input of the step; the program only depends on whether there is one.
    facts["mixture.snr_range_db"] = "given" if config.mixture.snr_range_db else "none"
    return facts | {f"train.{name}": values["train"][name] for name in _TRAIN_FIELDS}


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise DeviceError(
                    f"{printable(path)} is no executable: give a file that `audiosep compile --save` wrote."
                )
            header = file.readline(_LONGEST_FACTS)
            body = file.read()
    except FileNotFoundError:
        raise DeviceError(
            f"{printable(path)} does not exist: write it with `audiosep compile --save`."
        ) from None
    except OSError as error:
        raise DeviceError(f"{printable(path)} cannot be read: {error.strerror}.") from error
    try:
        facts = json.loads(header)
    except ValueError:
        facts = None
    if not isinstance(facts, dict) or facts.get("sha256") != hashlib.sha256(body).hexdigest():
        raise DeviceError(f"{printable(path)} is damaged: its content has changed; copy or compile it again.")
    return facts, body


@functools.cache
def _source() -> str:
    """Returns a fingerprint of the code that a step is traced from."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(path for room in _ROOMS for path in (root / room).rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
