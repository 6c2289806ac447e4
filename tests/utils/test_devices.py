"""libtpu is not loaded without a TPU; a machine with one stays as it is; a missing device is a sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import audiosep_jax
from audiosep_jax.utils import devices

CLIP = Path(audiosep_jax.__file__).parent / "assets" / "demo" / "rain_1.ogg"
# Writes a line whenever JAX asks where the library is: once when JAX is imported, and again to load it.
FAKE_LIBTPU = """
import os
def get_library_path():
    with open(os.environ["FAKE_LIBTPU_CALLS"], "a") as file:
        file.write("called\\n")
    return __file__
"""
COMMAND = "import sys; from audiosep_jax.cli.main import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def chosen(monkeypatch):
    """Returns what JAX_PLATFORMS becomes on a machine with these files, plugins and variables."""

    def call(root, *, libtpu=True, plugins=(), **variables):
        for name in (*devices._USERS_CHOICE, *variables):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: object() if libtpu else None)
        monkeypatch.setattr(devices, "_plugins", lambda: set(plugins))
        devices.skip_libtpu_without_tpu(root)
        return os.environ.get("JAX_PLATFORMS")

    return call


def pci(root, vendor, kind):
    device = root / "sys" / "bus" / "pci" / "devices" / f"{vendor}-{kind}"
    device.mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text(f"{kind}\n")


@pytest.mark.parametrize(
    ("plugins", "expected"),
    [
        ((), "cpu"),
        (("xla_cuda13",), "cuda,cpu"),
        (("jax_plugins.xla_cuda12", "xla_cuda12"), "cuda,cpu"),
        (("xla_rocm7",), "rocm,cpu"),
        (("xla_cuda13", "another"), None),  # a platform whose name is unknown must not be lost
    ],
)
def test_without_a_tpu_every_other_platform_stays(chosen, tmp_path, plugins, expected):
    assert chosen(tmp_path, plugins=plugins) == expected


def test_without_libtpu_nothing_is_set(chosen, tmp_path):
    assert chosen(tmp_path, libtpu=False) is None


@pytest.mark.parametrize("name", devices._USERS_CHOICE)
def test_what_the_user_set_stays(chosen, tmp_path, name):
    assert chosen(tmp_path, **{name: ""}) == ("" if name == "JAX_PLATFORMS" else None)


@pytest.mark.parametrize("file", ["dev/accel0", "dev/accel3", "dev/vfio/0", "dev/vfio/12"])
def test_a_device_file_is_a_tpu(chosen, tmp_path, file):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    assert chosen(tmp_path) is None


def test_a_pci_device_of_google_is_a_tpu_unless_it_is_a_network_card_or_a_disk(chosen, tmp_path):
    pci(tmp_path, "0x8086", "0x060000")
    pci(tmp_path, "0x1ae0", "0x020000")  # gVNIC
    pci(tmp_path, "0x1ae0", "0x010802")  # NVMe
    (tmp_path / "dev" / "vfio").mkdir(parents=True)
    (tmp_path / "dev" / "vfio" / "vfio").touch()  # there wherever the kernel module is
    (tmp_path / "dev" / "accel").mkdir()
    assert chosen(tmp_path) == "cpu"
    pci(tmp_path, "0x1ae0", "0xff0000")
    assert chosen(tmp_path) is None


def start(folder, program, *arguments, **variables):
    """Runs a program in a process that finds the fake libtpu and no choice of a platform."""
    environment = {name: value for name, value in os.environ.items() if name not in devices._USERS_CHOICE}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), *sys.path[:1], os.environ["PYTHONPATH"]])
    calls = folder / "calls"
    calls.write_text("")
    environment |= {"FAKE_LIBTPU_CALLS": str(calls), "TPU_SKIP_MDS_QUERY": "1"} | variables
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=environment,
        cwd=Path(audiosep_jax.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done, calls.read_text().count("called")


@pytest.mark.skipif(devices.has_tpu(), reason="this machine has a TPU")
def test_a_command_does_not_load_an_installed_libtpu(tmp_path):
    (tmp_path / "libtpu.py").write_text(FAKE_LIBTPU)
    _, imported = start(tmp_path, "import jax")
    _, loaded = start(tmp_path, "import jax; jax.devices()")
    assert loaded > imported  # the fake notices
    out = tmp_path / "out"
    done, during_command = start(tmp_path, COMMAND, "separate", CLIP, "--query", "rain", "--out", out)
    assert done.returncode == 0, done.stderr
    assert during_command == imported
    assert "tpu" not in (done.stdout + done.stderr).lower()
    assert len(list(out.iterdir())) >= 2


@pytest.mark.parametrize(
    ("platforms", "reason"), [("cuda", ""), ("gargle", " (Unable to initialize backend 'gargle': ")]
)
def test_a_missing_device_is_one_sentence(tmp_path, platforms, reason):
    if platforms == "cuda" and list(Path("/dev").glob("nvidia*")):
        pytest.skip("this machine has a GPU")
    arguments = ("separate", CLIP, "--query", "rain", "--out", tmp_path / "out")
    done, _ = start(tmp_path, COMMAND, *arguments, JAX_PLATFORMS=platforms)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    start_of_line = (
        f"audiosep: error: JAX finds no device for JAX_PLATFORMS={platforms} on this machine{reason}"
    )
    assert line.startswith(start_of_line)
    assert line.endswith(": set JAX_PLATFORMS=cpu, or unset it to let JAX choose.")
    assert list((tmp_path / "out").glob("*")) == []


def test_an_error_on_a_machine_with_a_device_is_not_about_devices():
    assert devices.device_error() is None
