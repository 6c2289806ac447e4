"""The separator in PyTorch, as the reference trains it and separates with it, to compare ours with.

Written from the description of the model, with the tensor names of the released checkpoint and the habits of
its code: NCHW, STFT and inverse STFT as convolutions, BatchNorm and FiLM computed in every call, AdamW with
AMSGrad, long sounds in windows of 5 s of which nearly every one is computed twice. It is a process of its
own, because it needs PyTorch and not audiosep_jax:

  python benchmarks/pytorch_twin.py FOLDER

FOLDER holds `config.json` and `weights.npz` (a state dict). It prints a line of JSON when it is ready, and
one for each line of its standard input:

- With "optimizer" in `config.json`, for `benchmarks.train_step`: a line is a train step on `batch.npz`, the
  answer `{"seconds": …, "loss": …}`.
- Without, for `benchmarks.beside_pytorch`: a line is a job such as `{"mixture": "long.npy", "windows": true,
  "precision": "float32", "estimate": "long-theirs.npy"}` with `condition.npy`, the answer
  `{"seconds": …, "peak_bytes": …}`; the peak is that of the process so far.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from serving import peak_bytes, serve  # pyright: ignore[reportMissingImports]

# This folder's profile.py would hide the standard library's, which PyTorch's optimizers import.
sys.path.remove(str(Path(__file__).resolve().parent))

try:
    import torch  # pyright: ignore[reportMissingImports]
    import torch.nn.functional as F  # noqa: N812  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]
except ImportError:
    raise SystemExit(
        "error: this Python has no PyTorch: install it (pip install torch), or name a Python that has it "
        "with --torch-python."
    ) from None

SLOPE = 0.01
FLOOR = 1e-10
LEFT_SECONDS, CENTRE_SECONDS, RIGHT_SECONDS = 1, 3, 1


def activated(norm, inputs, shift):
    """BatchNorm, the condition's shift, leaky ReLU in place as the reference does it."""
    return F.leaky_relu_(norm(inputs) + shift, negative_slope=SLOPE)


class Residual(nn.Module):
    """Two pre-activated 3×3 convolutions around a shortcut."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.bn1, self.bn2 = (nn.BatchNorm2d(width, momentum=0.01) for width in (inputs, outputs))
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, inputs, shifts):
        """Takes and returns `[batch, channels, time, freq]`."""
        hidden = self.conv1(activated(self.bn1, inputs, next(shifts)))
        hidden = self.conv2(activated(self.bn2, hidden, next(shifts)))
        return hidden + (inputs if self.shortcut is None else self.shortcut(inputs))


class Encoder(nn.Module):
    """A residual block; `stride` None does not pool."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv_block1 = Residual(inputs, outputs)
        self.stride = stride

    def forward(self, inputs, shifts):
        """Returns what the next block takes, and the skip."""
        skip = self.conv_block1(inputs, shifts)
        return (skip if self.stride is None else F.avg_pool2d(skip, self.stride)), skip


class Decoder(nn.Module):
    """Upsamples, joins the skip, refines."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs, momentum=0.01)
        self.conv1 = nn.ConvTranspose2d(inputs, outputs, stride, stride=stride, bias=False)
        self.conv_block2 = Residual(2 * outputs, outputs)

    def forward(self, inputs, skip, shifts):
        """Returns a tensor of the skip's shape."""
        hidden = self.conv1(activated(self.bn1, inputs, next(shifts)))
        return self.conv_block2(torch.cat((hidden, skip), dim=1), shifts)


class Spectrum(nn.Module):
    """STFT and inverse STFT as convolutions with fixed kernels."""

    def __init__(self, window, hop):
        super().__init__()
        self.window, self.hop = window, hop
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
        angle = 2 * np.pi * np.outer(np.arange(window), np.arange(window)) / window
        bins = window // 2 + 1
        forward = np.concatenate([np.cos(angle)[:bins], -np.sin(angle)[:bins]]) * hann
        inverse = [part * hann[:, None] / window for part in (np.cos(angle), np.sin(angle))]
        self.register_buffer("kernel", torch.from_numpy(forward.astype(np.float32))[:, None])
        for name, part in zip(("inverse_real", "inverse_imag"), inverse, strict=True):
            self.register_buffer(name, torch.from_numpy(part.astype(np.float32))[:, :, None])
        self.register_buffer("square", torch.from_numpy((hann**2).astype(np.float32)))

    def forward(self, waveform):
        """Returns real and imaginary part, `[batch, 1, frames, bins]`."""
        padded = F.pad(waveform[:, None], (self.window // 2,) * 2, mode="reflect")
        parts = F.conv1d(padded, self.kernel, stride=self.hop).transpose(1, 2)[:, None]
        return parts.chunk(2, dim=-1)

    def inverse(self, real, imag, samples):
        """Returns `[batch, samples]` of parts `[batch, bins, frames]`."""
        real = torch.cat((real, real[:, 1:-1].flip(1)), dim=1)
        imag = torch.cat((imag, -imag[:, 1:-1].flip(1)), dim=1)
        framed = F.conv1d(real, self.inverse_real) - F.conv1d(imag, self.inverse_imag)
        length = (framed.shape[-1] - 1) * self.hop + self.window
        fold = {"output_size": (1, length), "kernel_size": (1, self.window), "stride": (1, self.hop)}
        waveform = F.fold(framed, **fold)[:, 0, 0]
        total = F.fold(self.square[None, :, None].expand(1, -1, framed.shape[-1]).contiguous(), **fold)
        start = self.window // 2
        return (waveform / total[:, 0, 0].clamp(1e-11))[:, start : start + samples]


class Separator(nn.Module):
    """Waveform in, waveform out."""

    def __init__(self, *, window_length, hop_length, encoder_widths):
        super().__init__()
        widths = tuple(encoder_widths)
        strides = [(2, 2)] * (len(widths) - 1) + [(1, 2)]
        self.time_multiple = 2 ** (len(widths) - 1)
        self.spectrum = Spectrum(window_length, hop_length)
        self.bn0 = nn.BatchNorm2d(window_length // 2 + 1, momentum=0.01)
        self.pre_conv, self.after_conv = nn.Conv2d(1, widths[0], 1), nn.Conv2d(widths[0], 3, 1)
        below = widths[:1] + widths[:-1]
        self.encoders = [Encoder(*sizes) for sizes in zip(below, widths, strides, strict=True)]
        self.conv_block7a = Encoder(widths[-1], widths[-1], None)
        below = widths[-1:] + widths[:0:-1]
        reverse = zip(below, widths[::-1], strides[::-1], strict=True)
        self.decoders = [Decoder(*sizes) for sizes in reverse]
        for kind, blocks in (("encoder", self.encoders), ("decoder", self.decoders)):
            for index, block in enumerate(blocks, start=1):
                self.add_module(f"{kind}_block{index}", block)

    def forward(self, mixture, shifts):
        """Takes `[batch, samples]` and an iterator over the shifts `[batch, channels, 1, 1]` in order."""
        real, imag = self.spectrum(mixture)
        magnitude = (real**2 + imag**2).clamp(FLOOR) ** 0.5
        cos, sin = real / magnitude, imag / magnitude
        frames = magnitude.shape[2]
        hidden = self.bn0(magnitude.transpose(1, 3)).transpose(1, 3)
        hidden = F.pad(hidden, (0, 0, 0, -frames % self.time_multiple))[..., :-1]
        hidden = self.pre_conv(hidden)
        skips = []
        for encoder in self.encoders:
            hidden, skip = encoder(hidden, shifts)
            skips.append(skip)
        hidden, _ = self.conv_block7a(hidden, shifts)
        for decoder in self.decoders:
            hidden = decoder(hidden, skips.pop(), shifts)
        logits = F.pad(self.after_conv(hidden), (0, 1))[:, :, :frames]
        mask = torch.sigmoid(logits[:, 0:1])
        rotation_real, rotation_imag = torch.tanh(logits[:, 1:2]), torch.tanh(logits[:, 2:3])
        length = (rotation_real**2 + rotation_imag**2).clamp(FLOOR) ** 0.5
        rotation_cos, rotation_sin = rotation_real / length, rotation_imag / length
        estimate = F.relu(magnitude * mask)
        real = estimate * (cos * rotation_cos - sin * rotation_sin)
        imag = estimate * (sin * rotation_cos + cos * rotation_sin)
        real, imag = (part[:, 0].transpose(1, 2) for part in (real, imag))
        return self.spectrum.inverse(real, imag, mixture.shape[-1])


class Twin(nn.Module):
    """The separator and its FiLM projections, named as in the released checkpoint."""

    def __init__(self, *, condition_size, **shape):
        super().__init__()
        self.base = Separator(**shape)
        self.film = nn.ModuleDict()
        for name, module in self.base.named_modules():
            if isinstance(module, nn.BatchNorm2d) and name != "bn0":
                key = name.replace("bn", "beta").replace(".", "->")
                self.film[key] = nn.Linear(condition_size, module.num_features)
        # The order in which the network asks for them: a decoder's own norm, then those of its block.
        names = [f"encoder_block{i + 1}" for i in range(len(self.base.encoders))] + ["conv_block7a"]
        self.order = [f"{name}->conv_block1->beta{i}" for name in names for i in (1, 2)]
        for i in range(len(self.base.decoders)):
            name = f"decoder_block{i + 1}"
            self.order += [f"{name}->beta1", f"{name}->conv_block2->beta1", f"{name}->conv_block2->beta2"]

    def forward(self, mixture, condition):
        """Takes and returns `[batch, samples]`; the condition is `[batch, condition_size]`."""
        shifts = (self.film[key](condition)[:, :, None, None] for key in self.order)
        return self.base(mixture, shifts)


def mixed(segments, gains_db):
    """The reference's mixing of a target and interferers, `[batch, sources, samples]` in all."""
    target, gains = segments[:, 0], 10 ** (gains_db / 20)

    def matched(audio, reference):
        energies = [(x**2).mean(-1, keepdim=True) for x in (audio, reference)]
        return audio / (energies[0] / energies[1].clamp(FLOOR)).sqrt().clamp(0.02, 50)

    interferers = matched(segments[:, 1:], target[:, None]) * gains[:, :-1, None]
    mixture = target + matched(interferers.sum(1), target) * gains[:, -1:]
    peak = mixture.abs().amax(-1, keepdim=True)
    scale = torch.where(peak > 1, 0.9 / peak, torch.ones_like(peak))
    return mixture * scale, target * scale


def load(folder, shape):
    """Returns the model with the weights of a folder."""
    model = Twin(**shape)
    with np.load(folder / "weights.npz") as weights:
        state = {name: torch.from_numpy(weights[name]) for name in weights.files}
    constants = {name for name in model.state_dict() if ".spectrum." in name or "num_batches" in name}
    if missing := set(model.state_dict()) - constants - set(state):
        raise SystemExit(f"error: weights.npz lacks {', '.join(sorted(missing)[:5])}.")
    model.load_state_dict(state, strict=False)
    return model


def train_step(folder, model, settings):
    """Returns a function that takes a train step; `settings` are AdamW's arguments."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), amsgrad=True, **settings)
    with np.load(folder / "batch.npz") as arrays:
        segments, gains_db, condition = (
            torch.from_numpy(arrays[name]) for name in ("segments", "gains_db", "condition")
        )

    def step(_):
        started = time.perf_counter()
        mixture, target = mixed(segments, gains_db)
        loss = (model(mixture, condition) - target).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        value = loss.item()
        return {"seconds": time.perf_counter() - started, "loss": value}

    return step


def separation(folder, model, rate):
    """Returns a function that does a job; `rate` is the model's in Hz."""
    model.eval()
    condition = torch.from_numpy(np.load(folder / "condition.npy"))[None]

    def separate(job):
        mixture = torch.from_numpy(np.load(folder / job["mixture"]))[None]
        half = job["precision"] == "bfloat16"
        started = time.perf_counter()
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            if job["windows"]:
                estimate = in_windows(model, mixture, condition, rate=rate)
            else:
                estimate = model(mixture, condition).float().numpy()
        seconds = time.perf_counter() - started
        np.save(folder / job["estimate"], estimate[0])
        return {"seconds": seconds, "peak_bytes": peak_bytes()}

    return separate


def in_windows(model, mixture, condition, *, rate):
    """Separates `[1, samples]` as the reference does: in windows of 5 s, joined by hard cuts.

    Its loop computes a window, moves by 3 s, and computes the window there twice: as the end of the sound, in
    case it is the last one, and as the next window.
    """
    samples = mixture.shape[-1]
    window = (LEFT_SECONDS + CENTRE_SECONDS + RIGHT_SECONDS) * rate
    left, right = LEFT_SECONDS * rate, RIGHT_SECONDS * rate
    estimate = np.zeros((1, samples), np.float32)
    start = 0
    while start + window < samples:
        chunk = model(mixture[:, start : start + window], condition).float().numpy()
        skipped = left if start else 0
        estimate[:, start + skipped : start + window - right] = chunk[:, skipped : window - right]
        start += CENTRE_SECONDS * rate
        if start < samples:
            chunk = model(mixture[:, start : start + window], condition).float().numpy()
            estimate[:, start + left : start + chunk.shape[-1]] = chunk[:, left:]
    return estimate


if __name__ == "__main__":
    if hasattr(os, "sched_getaffinity"):
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    place = Path(sys.argv[1])
    config = json.loads((place / "config.json").read_text("utf-8"))
    twin = load(place, config["model"])
    if "optimizer" in config:
        answer = train_step(place, twin, config["optimizer"])
    else:
        answer = separation(place, twin, config["rate"])
    serve({"torch": torch.__version__, "threads": torch.get_num_threads()}, answer)
