"""Makes torch_records.npz with PyTorch 2.13.0: `python make_torch_records.py`. No test runs this."""

from pathlib import Path

import numpy as np
import torch

STFT_CASES = [(16, 4, 61), (16, 5, 61), (64, 32, 200), (64, 23, 200), (512, 160, 1600)]
OPTIMIZERS = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.1}),
    "adamw_amsgrad": (torch.optim.AdamW, {"weight_decay": 0.0, "amsgrad": True}),
    "adamw_amsgrad_decay": (torch.optim.AdamW, {"weight_decay": 0.1, "amsgrad": True}),
}


def stft_records(rng):
    for window, hop, samples in STFT_CASES:
        waveform = torch.tensor(rng.standard_normal((2, samples)), dtype=torch.float32)
        options = {"n_fft": window, "hop_length": hop, "window": torch.hann_window(window)}
        spectrum = torch.stft(waveform, return_complex=True, center=True, pad_mode="reflect", **options)
        # A spectrum that no waveform has: the inverse must weigh frames that contradict each other.
        changed = spectrum * torch.linspace(0.2, 1, spectrum.shape[1])[:, None]
        changed = changed * torch.linspace(-1, 1, spectrum.shape[2])
        place = f"stft/{window}/{hop}"
        yield f"{place}/waveform", waveform
        yield f"{place}/spectrum", spectrum.transpose(1, 2)
        yield f"{place}/changed", changed.transpose(1, 2)
        yield f"{place}/inverse", torch.istft(changed, center=True, length=samples, **options)


def optimizer_records(rng):
    # Gradients that shrink: only then do the two readings of AMSGrad differ.
    gradients = rng.standard_normal((12, 5)) * np.geomspace(10, 0.01, 12)[:, None]
    start = rng.standard_normal(5)
    yield "optimizer/gradients", torch.tensor(gradients, dtype=torch.float32)
    yield "optimizer/start", torch.tensor(start, dtype=torch.float32)
    for name, (kind, options) in OPTIMIZERS.items():
        parameter = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32))
        optimizer = kind([parameter], lr=1e-2, **options)
        path = []
        for gradient in gradients:
            parameter.grad = torch.tensor(gradient, dtype=torch.float32)
            optimizer.step()
            path.append(parameter.detach().clone())
        yield f"optimizer/{name}", torch.stack(path)


def batch_norm_records(rng):
    layer = torch.nn.BatchNorm2d(3, momentum=0.01)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rng.uniform(0.5, 2, 3)))
        layer.bias.copy_(torch.tensor(rng.standard_normal(3)))
    yield "batch_norm/scale", layer.weight.detach().clone()
    yield "batch_norm/bias", layer.bias.detach().clone()
    for step in range(2):
        inputs = torch.tensor(3 + 2 * rng.standard_normal((2, 3, 4, 2)), dtype=torch.float32)
        inputs.requires_grad_()
        cotangent = torch.tensor(rng.standard_normal(inputs.shape), dtype=torch.float32)
        layer.zero_grad()
        outputs = layer(inputs)
        outputs.backward(cotangent)
        place = f"batch_norm/step{step}"
        for name, value in {"inputs": inputs, "outputs": outputs, "cotangent": cotangent}.items():
            yield f"{place}/{name}", value.permute(0, 2, 3, 1)
        yield f"{place}/inputs_gradient", inputs.grad.permute(0, 2, 3, 1)
        yield f"{place}/scale_gradient", layer.weight.grad.clone()
        yield f"{place}/mean", layer.running_mean.clone()
        yield f"{place}/var", layer.running_var.clone()
    layer.eval()
    yield "batch_norm/evaluated", layer(inputs).permute(0, 2, 3, 1)


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    records = [*stft_records(rng), *optimizer_records(rng), *batch_norm_records(rng)]
    arrays = {name: value.detach().numpy().copy() for name, value in records}
    np.savez_compressed(Path(__file__).with_name("torch_records.npz"), **arrays)
