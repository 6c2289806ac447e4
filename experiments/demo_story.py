"""The four parts of the demo; `experiments/demo.py` is its command."""

import dataclasses
import functools
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from audiosep_jax.audio.reading import read_audio
from audiosep_jax.audio.writing import write_audio
from audiosep_jax.checkpoints import folder
from audiosep_jax.checkpoints.bundled import BUNDLED_CHECKPOINT
from audiosep_jax.cli import prepare
from audiosep_jax.config import DataConfig, ExperimentConfig, OptimizerConfig
from audiosep_jax.evals import metrics
from audiosep_jax.evals.evaluate import ClassResult, EvaluationResult, evaluate
from audiosep_jax.evals.evaluation_set import EvaluationSet, load_evaluation_set, render
from audiosep_jax.models import separator
from audiosep_jax.plotting.spectrograms import spectrogram_figure
from audiosep_jax.separation.api import AudioSep
from audiosep_jax.train.loop import train
from audiosep_jax.utils.atomic import make_folder
from audiosep_jax.utils.progress import counted, progress_bar

CLIPS = Path(prepare.__file__).parents[1] / "assets" / "demo"
BATCH_SIZE = 4
LEARNING_RATE = 1e-4


def run(
    *, out: Path, steps: int, mixtures: int | None, checkpoint: Path = BUNDLED_CHECKPOINT, console: Console
) -> None:
    """Runs the four parts in order; `work` in the folder of the results is deleted and written anew.

    Raises:
      AudioSepError: the checkpoint or the clips cannot be used, or OUT cannot be written.
    """
    started = time.perf_counter()
    before = folder.load(checkpoint)
    evaluation_set = load_evaluation_set(CLIPS / "evaluation.json")
    if mixtures is not None:
        evaluation_set = dataclasses.replace(
            evaluation_set, entries=evaluation_set.entries[: max(mixtures, 1)]
        )
    out = make_folder(out)
    work = out / "work"
    shutil.rmtree(work, ignore_errors=True)

    console.rule("1 of 4: prepare a dataset from the bundled clips")
    prepare.run(
        prepare.PrepareArgs(
            dataset="audio_folder",
            source=CLIPS,
            out=work / "dataset",
            sample_rate_hz=before.config.model.sample_rate_hz,
            source_column="source_file",
        )
    )

    console.rule(f"2 of 4: train {steps} steps from {before.config.name}")
    console.print("The first step waits for the compiler: about a minute, less when the demo runs again.")
    config = training_config(before.config, checkpoint, steps=steps, dataset=work / "dataset")
    after = train(config, work / "run")

    console.rule("3 of 4: evaluate on held-out mixtures")
    model = AudioSep(before.config, before.variables)
    apply = jax.jit(functools.partial(separator.apply, config.model))  # one program for both models
    trained = jax.device_get(after.state.variables)
    results = {
        name: evaluated(name, variables, model, apply, evaluation_set)
        for name, variables in ((before.config.name, before.variables), (config.name, trained))
    }
    console.print(comparison(results, evaluation_set))

    console.rule("4 of 4: separate one mixture by a sentence")
    separate_story(model, evaluation_set, out, console)
    console.print(f"Done in {time.perf_counter() - started:.0f} s.")


def training_config(
    config: ExperimentConfig, checkpoint: Path, *, steps: int, dataset: Path
) -> ExperimentConfig:
    """Returns the config of a checkpoint, changed to train a few more steps on the bundled clips."""
    devices = jax.local_device_count()
    return dataclasses.replace(
        config,
        name=f"{config.name} + {steps} steps",
        data=DataConfig(datasets=(f"{dataset}:train",), read_threads=1, prefetch=2),
        optimizer=OptimizerConfig(kind="adam", learning_rate=LEARNING_RATE, warmup_steps=0),
        train=dataclasses.replace(
            config.train,
            steps=steps,
            batch_size=-(-BATCH_SIZE // devices) * devices,
            log_every=10,
            save_every=max(steps, 1),
            evaluate_every=0,
            init_from=str(checkpoint),
        ),
    )


def evaluated(
    name: str, variables: separator.Variables, model: AudioSep, apply, evaluation_set: EvaluationSet
) -> EvaluationResult:
    """Evaluates one set of weights, with a progress bar."""
    on_device = jax.device_put(variables)

    def encode(queries: Sequence[str]) -> np.ndarray:
        return np.stack([model.condition(query=query) for query in queries])

    with progress_bar(Console()) as bar:
        task = bar.add_task(f"{name}: compiling and separating", total=len(evaluation_set.entries))
        return evaluate(
            evaluation_set,
            root=CLIPS,
            apply=lambda mixture, condition: apply(on_device, jnp.asarray(mixture), jnp.asarray(condition)),
            encode=encode,
            model_sample_rate_hz=model.sample_rate_hz,
            working_level_db=model.config.model.working_level_db,
            model=name,
            batch_size=4,
            progress=lambda done, total: bar.update(task, completed=done, description=name),
        )


def comparison(results: dict[str, EvaluationResult], evaluation_set: EvaluationSet) -> Table:
    """Returns a table of mean SDRi and SI-SDR per target class and overall, with a column per model."""
    table = Table(
        title="SDRi / SI-SDR in dB, mean over mixtures",
        caption=f"{len(evaluation_set.entries)} mixtures of two sounds at 0 dB, {evaluation_set.seconds:g} s "
        "each: too few to rank models that are a few tenths of a dB apart",
        caption_justify="left",
    )
    table.add_column("target")
    table.add_column("mixtures", justify="right")
    for name in results:
        table.add_column(name, justify="right", no_wrap=True)

    def row(each: Sequence[ClassResult]) -> list[str]:
        numbers = [f"{one.sdri_db.mean:6.2f} / {one.si_sdr_db.mean:6.2f}" for one in each]
        return [each[0].label, str(each[0].count), *numbers]

    for classes in zip(*(result.classes for result in results.values()), strict=True):
        table.add_row(*row(classes))
    overall = [result.overall for result in results.values() if result.overall is not None]
    table.add_section()
    table.add_row(*row(overall), style="bold")
    return table


def separate_story(model: AudioSep, evaluation_set: EvaluationSet, out: Path, console: Console) -> None:
    """Separates the first mixture of the set with the checkpoint and writes sounds and picture."""
    rate, entry = evaluation_set.sample_rate_hz, evaluation_set.entries[0]
    example = render(entry, root=CLIPS, sample_rate_hz=rate, seconds=evaluation_set.seconds)
    paths = {name: out / f"{name}.wav" for name in ("mixture", "target", "estimate", "residual")}
    write_audio(paths["mixture"], example.mixture, sample_rate_hz=rate)
    write_audio(paths["target"], example.target, sample_rate_hz=rate)
    description = f"compiling and separating “{example.query}”"
    with counted(description, console=console, percent=True) as progress:
        model.separate_file(
            paths["mixture"],
            query=example.query,
            estimate_path=paths["estimate"],
            residual_path=paths["residual"],
            progress=progress,
        )
    mixture, target, estimate = (
        read_audio(paths[name], mono=True).waveform[0] for name in ("mixture", "target", "estimate")
    )
    gain = float(metrics.sdri_db(target, estimate, mixture))
    sdr = float(metrics.si_sdr_db(target, estimate))
    picture = out / "spectrograms.png"
    spectrogram_figure(
        {
            f"mixture: {entry.target.label} + {entry.interferer.label}": mixture,
            f"target: {entry.target.label}": target,
            f"estimate: SDRi {gain:.1f} dB": estimate,
        },
        picture,
        sample_rate_hz=rate,
        title=f"“{example.query}”, separated by {model.config.name}",
    )
    console.print(
        f"“{example.query}” out of {entry.interferer.label}: SDRi {gain:.2f} dB, SI-SDR {sdr:.2f} dB"
    )
    notes = {
        "mixture": "the input",
        "estimate": "the sound that the sentence describes",
        "residual": "the rest: mixture = estimate + residual",
        "target": "the true sound",
    }
    for name, note in notes.items():
        console.print(f"  {paths[name]}  {note}", highlight=False, soft_wrap=True)
    console.print(f"  {picture}  mixture, target and estimate", highlight=False, soft_wrap=True)
