"""Writes torch_files/, files of PyTorch 2.13: `python make_torch_files.py` where torch is installed."""

import argparse
import collections
import pathlib

import numpy as np
import torch

FOLDER = pathlib.Path(__file__).with_name("torch_files")


def tensors():
    grid = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    parameter = torch.nn.Parameter(torch.arange(3, dtype=torch.float32) / 8)
    return collections.OrderedDict(
        float32=torch.arange(6, dtype=torch.float32).reshape(2, 3) / 4,
        float64=torch.arange(3, dtype=torch.float64) / 7,
        float16=torch.arange(6).to(torch.float16) / 4,
        bfloat16=torch.arange(5).to(torch.bfloat16) / 2,
        int64=torch.arange(4) - 2,
        int32=torch.arange(3, dtype=torch.int32),
        uint8=torch.arange(3, dtype=torch.uint8),
        uint16=torch.arange(3).to(torch.uint16),
        bool=torch.tensor([True, False]),
        zero_dim=torch.tensor(7),
        empty=torch.zeros(0, 3),
        parameter=parameter,
        whole=grid,
        row=grid[1],
        transposed=grid.t(),
        strided=grid[::2, 1::2],
        convolution=torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
    )


def lightning():
    linear = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(linear.parameters(), amsgrad=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    linear(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    scheduler.step()
    return {
        "epoch": 3,
        "global_step": 1234567,
        "pytorch-lightning_version": "2.1.0",
        "state_dict": linear.state_dict(),  # an OrderedDict with the attribute _metadata
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [scheduler.state_dict()],
        "hparams_name": "kwargs",
        "hyper_parameters": {
            "args": argparse.Namespace(gpus=8),
            "folder": pathlib.PurePosixPath("data/clips"),
            "rate": np.float64(0.001),
            "names": {"a", "b"},
            "device": torch.device("cpu"),
            "shape": torch.Size([2, 3]),
            "dtype": torch.float32,
            "big": 1 << 70,
        },
    }


if __name__ == "__main__":
    torch.manual_seed(0)
    FOLDER.mkdir(exist_ok=True)
    torch.save(
        {"state_dict": tensors(), "epoch": 3, "rate": 1e-3, "rest": ["a", ("b", None)]}, FOLDER / "all.pt"
    )
    torch.save(lightning(), FOLDER / "lightning.ckpt")
    torch.save(tensors(), FOLDER / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(collections.OrderedDict(weight=torch.ones(2), count=torch.tensor(3)), FOLDER / "two.pt")
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(FOLDER / "script.pt"))
