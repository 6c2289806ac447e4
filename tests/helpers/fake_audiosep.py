"""Fakes `audiosep train` and `audiosep evaluate`: the same arguments, signals and files, without a model.

A training counts its steps in a file and resumes from it. The name of the cell selects the behaviour:
"broken" fails, "stubborn" runs until it is stopped twice, the evaluation of "forgetful" loses one SIGTERM.
"""

import json
import signal
import sys
import time
from pathlib import Path

SECONDS_PER_STEP = 0.02


def train(experiment: Path, workdir: Path) -> int:
    config = json.loads((experiment.parent / "config.json").read_text())
    workdir.mkdir(exist_ok=True)
    if " broken " in config["name"]:
        print("loading\naudiosep: error: the clips of broken are gone.", file=sys.stderr)
        return 2
    signals = []
    signal.signal(signal.SIGTERM, lambda number, _frame: signals.append(number))
    steps = workdir / "steps.txt"
    first = int(steps.read_text()) if steps.exists() else 0
    print(f"trains from step {first}", flush=True)
    for step in range(first, config["train"]["steps"]):
        if len(signals) > (" stubborn " in config["name"]):
            steps.write_text(str(step))
            print(f"saved at step {step}", flush=True)
            return 143
        time.sleep(SECONDS_PER_STEP)
    steps.write_text(str(config["train"]["steps"]))
    model = {"cell": config["name"].split()[1], "seed": config["train"]["seed"]}
    (workdir / "checkpoint").mkdir(exist_ok=True)
    (workdir / "checkpoint" / "model.json").write_text(json.dumps(model))
    with (workdir / "metrics.jsonl").open("w") as file:
        for step in (10, 20):
            file.write(json.dumps({"step": step, "validation/sdri_db": step / 10 + model["seed"]}) + "\n")
            file.write(json.dumps({"step": step, "loss": 1.0}) + "\n")
    return 0


def evaluate(set_file: Path, checkpoint: Path, out: Path) -> int:
    model = json.loads((checkpoint / "model.json").read_text())
    about = json.loads(set_file.read_text())
    if model["cell"] == "unmeasurable":
        print("audiosep: error: the estimate is not finite.", file=sys.stderr)
        return 2
    print("evaluates", flush=True)
    if model["cell"] == "forgetful":
        signals = []
        signal.signal(signal.SIGTERM, lambda number, _frame: signals.append(number))
        while len(signals) < 2:
            time.sleep(SECONDS_PER_STEP)
        return 143
    gain = {"better": 2.0, "hardly": 0.001}.get(model["cell"], 0.0)
    rows = [
        {
            "index": index,
            "target_file": entry["target"]["file"],
            "sdri_db": 3
            + gain * (1 + 0.01 * (index % 5 - 2))
            + 0.01 * model["seed"]
            + 0.1 * (index % 5)
            + 0.003 * ((index * 7) % 3),
            "si_sdri_db": 1 + gain,
        }
        for index, entry in enumerate(about["entries"])
    ]
    absent = [{"attenuation_db": 6.0 + gain}]
    out.mkdir(exist_ok=True)
    result = {"set_name": about["name"], "examples": rows, "absent": absent}
    (out / "result.json").write_text(json.dumps(result))
    return 0


def main() -> int:
    command, what, *options = sys.argv[1:]
    named = dict(zip(options[::2], options[1::2], strict=True))
    if command == "train":
        return train(Path(what), Path(named["--workdir"]))
    assert command == "evaluate"
    assert set(named) == {"--root", "--checkpoint", "--out", "--batch-size"}
    return evaluate(Path(what), Path(named["--checkpoint"]), Path(named["--out"]))


if __name__ == "__main__":
    sys.exit(main())
