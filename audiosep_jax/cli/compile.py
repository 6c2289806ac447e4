"""`audiosep compile`: computes whether a training fits a TPU, and its speed, without a TPU."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompileArgs:
    """Compile the train step of an experiment for a TPU that need not exist: memory, traffic, time.

    audiosep compile experiments/base.py --topology v5e:2x2 --batch 96
    """

    experiment: Annotated[Path, tyro.conf.Positional]
    """Python file that defines CONFIG, such as experiments/base.py."""
    topology: str = "v5e:2x2"
    """TPU and sides of the slice: v4:2x2x1, v5e:2x4, v5p:2x2x2, v6e:16x16, tpu7x:2x2x1; or local, for the
    devices of this machine."""
    batch: int | None = None
    """Global batch in clips; by default that of the experiment."""
    set: tuple[str, ...] = ()
    """Changes of the config, as FIELD=VALUE with a JSON value: execution.remat=blocks mesh.fsdp=4."""
    json: Path | None = None
    """Also write the whole report to this file."""
    save: Path | None = None
    """Write the executable to this file; `audiosep train --executable` loads it on such a slice."""


def run(args: CompileArgs) -> int:
    """Compiles and prints the report; returns 0 if the step fits, else 1."""
    from audiosep_jax.aot.topology import make_topology, prepare_environment

    prepare_environment(args.topology)
    from audiosep_jax.config.loading import apply_overrides, load_experiment

    batch = () if args.batch is None else (f"train.batch_size={args.batch}",)
    config = apply_overrides(load_experiment(args.experiment), (*args.set, *batch))
    topology = make_topology(args.topology)

    from audiosep_jax.aot import executable
    from audiosep_jax.aot.compiled_step import compile_step
    from audiosep_jax.aot.report import make_report, print_report
    from audiosep_jax.utils.atomic import make_folder, replacing, write_json

    for path in (args.json, args.save):
        if path is not None:
            make_folder(path.parent)  # an unwritable folder is an error before a long compilation
    compiled = compile_step(config, topology)
    report = make_report(config, topology, compiled)
    print_report(report)
    if args.json is not None:
        write_json(args.json, dataclasses.asdict(report))
    if args.save is not None and compiled.executable is not None:
        data = executable.pack(compiled.executable, config, compiled.mesh)
        with replacing(args.save) as temporary:
            temporary.write_bytes(data)
        print(f"the executable is in {args.save} ({len(data) / 1e6:.0f} MB)")
    elif args.save is not None:
        print(f"{args.save} was not written, because a step that does not fit has no executable")
    return 0 if report.fits else 1
