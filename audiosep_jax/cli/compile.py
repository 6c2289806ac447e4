"""`audiosep compile`: whether a training fits a TPU, and how fast it would be, without one."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompileArgs:
    """Compile the train step of an experiment for a TPU that need not be there: memory, traffic, time.

    audiosep compile experiments/base.py --topology v5e:2x2 --batch 96
    """

    experiment: Annotated[Path, tyro.conf.Positional]
    """Python file that defines CONFIG, such as experiments/base.py."""
    topology: str = "v5e:2x2"
    """TPU and sides of the slice: v4:2x2x1, v5e:2x4, v5p:2x2x2, v6e:16x16, tpu7x:2x2x1; or local, for the
    devices of this machine."""
    batch: int | None = None
    """Global batch in clips; that of the experiment without it."""
    set: tuple[str, ...] = ()
    """Changes of the config, as FIELD=VALUE with a JSON value: execution.remat=blocks mesh.fsdp=4."""
    json: Path | None = None
    """Write the whole report to this file, too."""
    save: Path | None = None
    """Write the executable to this file, to be loaded on such a slice without compiling."""


def run(args: CompileArgs) -> int:
    """Compiles and prints the report; returns 0 where the step fits, 1 where it does not."""
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
            make_folder(path.parent)  # better known before than after a quarter of an hour of compiling
    compiled = compile_step(config, topology)
    report = make_report(config, topology, compiled)
    print_report(report)
    if args.json is not None:
        write_json(args.json, report.to_json())
    if args.save is not None and compiled.executable is not None:
        data = executable.pack(compiled.executable, config, compiled.mesh)
        with replacing(args.save) as temporary:
            temporary.write_bytes(data)
        print(f"the executable is in {args.save} ({len(data) / 1e6:.0f} MB)")
    elif args.save is not None:
        print(f"{args.save} was not written: a step that does not fit has no executable")
    return 0 if report.fits else 1
