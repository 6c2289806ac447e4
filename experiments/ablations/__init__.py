"""One sweep per file: `audiosep sweep experiments/ablations/NAME.py --workdir runs/NAME`."""
