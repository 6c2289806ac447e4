"""`audiosep separate`: every recording, every query, one estimate and one residual each."""

import dataclasses
import itertools
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from audiosep_jax.errors import AudioSepError, printable


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeparateArgs:
    """Extract the described sounds from recordings.

    Writes RECORDING.QUERY.estimate.wav, the described sound, and RECORDING.QUERY.residual.wav, everything
    else; together they are the recording. Give the recordings first, then the queries:

    audiosep separate street.wav park.flac --query "a dog barks" rain

    A model whose query encoder hears or sees takes examples of the sound, too; their results are named after
    the example's file.
    """

    inputs: Annotated[tuple[Path, ...], tyro.conf.arg(name="in", metavar="IN..."), tyro.conf.Positional]
    """Recordings: WAV, FLAC, OGG, MP3 and others, of any length, rate and number of channels."""
    query: Annotated[tuple[tuple[str, ...], ...], tyro.conf.arg(metavar="TEXT..."), tyro.conf.UseAppendAction]
    """Sentences that describe the sounds to extract, each on its own; may be given again."""
    query_audio: Annotated[
        tuple[tuple[Path, ...], ...], tyro.conf.arg(metavar="FILE..."), tyro.conf.UseAppendAction
    ]
    """Recordings of sounds like those to extract, each on its own, if the model's query encoder is "clap";
    their first 10 s count."""
    query_image: Annotated[
        tuple[tuple[Path, ...], ...], tyro.conf.arg(metavar="FILE..."), tyro.conf.UseAppendAction
    ]
    """Pictures of what makes the sound, if the model's query encoder is "clip". All that follow are the
    frames of one query; give it again for another."""
    out: Path = Path("separated")
    """Folder for the results; it is created."""
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="FOLDER|ORG/NAME")] = None
    """Folder of the model, or org/name on the Hugging Face hub; without it the bundled one separates."""
    upstream_windows: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Cut long recordings as the PyTorch reference does, into windows of 5 s that are joined without a
    fade."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Query:
    """What describes a sound: one of a sentence, a recording, and pictures."""

    text: str | None = None
    audio: Path | None = None
    images: tuple[Path, ...] | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it is read from."""
        return self.images or (() if self.audio is None else (self.audio,))

    @property
    def label(self) -> str:
        """What results are named after: the sentence, or the stem of the first file."""
        return self.files[0].stem if self.text is None else self.text


@dataclasses.dataclass(frozen=True)
class Job:
    """One recording and one query, and where the results go."""

    recording: Path
    query: Query
    estimate_path: Path
    residual_path: Path


def run(args: SeparateArgs) -> int:
    """Separates and prints a line per result; returns 2 if any recording failed, else 0."""
    queries = _queries(args)
    jobs = plan_jobs(args.inputs, queries, out=args.out)
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    import audiosep_jax

    model = audiosep_jax.load(args.checkpoint)
    # An unusable query ends the command before any work.
    conditions = {
        query: model.condition(query=query.text, query_audio=query.audio, query_images=query.images)
        for query in queries
    }
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise AudioSepError(
            f"The folder {printable(args.out)} cannot be created ({reason}): choose another --out."
        ) from error
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    failed = 0
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        for job in jobs:
            task = bar.add_task(f"{printable(job.recording.name)} · {printable(job.query.label)}", total=None)
            try:
                result = model.separate_file(
                    job.recording,
                    condition=conditions[job.query],
                    upstream_windows=args.upstream_windows,
                    estimate_path=job.estimate_path,
                    residual_path=job.residual_path,
                    progress=lambda done, total, task=task: bar.update(task, completed=done, total=total),
                )
            except AudioSepError as error:
                failed += 1
                print(f"audiosep: error: {error}", file=sys.stderr)
            else:
                seconds = result.samples / result.sample_rate_hz
                sound = f"{seconds:.1f} s, {result.sample_rate_hz} Hz, {result.channels} ch, {result.subtype}"
                print(
                    f"{printable(result.estimate_path)}  ({sound}, {result.level_db:+.1f} dB of the mixture)"
                )
                print(f"{printable(job.residual_path)}  ({sound})")
            bar.remove_task(task)
    if failed:
        print(f"audiosep: {failed} of {len(jobs)} separations failed; see above.", file=sys.stderr)
    return 2 if failed else 0


def _queries(args: SeparateArgs) -> tuple[Query, ...]:
    for flag, groups in (("--query-audio", args.query_audio), ("--query-image", args.query_image)):
        if () in groups:
            raise AudioSepError(f"{flag} names no file: give at least one after it.")
    texts = itertools.chain.from_iterable(args.query)
    recordings = itertools.chain.from_iterable(args.query_audio)
    return (
        *(Query(text=text) for text in texts),
        *(Query(audio=path) for path in recordings),
        *(Query(images=frames) for frames in args.query_image),
    )


def plan_jobs(recordings: Sequence[Path], queries: Sequence[Query], *, out: Path) -> list[Job]:
    """Names the results of every recording and query so that no two share a name.

    Raises:
      AudioSepError: there is no recording or no query, or a result would overwrite a recording or the file
        of a query.
    """
    if not recordings:
        raise AudioSepError("No recording was given: name at least one sound file before --query.")
    if not queries:
        raise AudioSepError(
            'No query was given: describe the sound, for example --query "a dog barks", or give an example '
            "of it with --query-audio or --query-image."
        )
    taken: set[str] = set()
    jobs = []
    for recording in dict.fromkeys(recordings):
        for query in dict.fromkeys(queries):
            name = wanted = f"{_shortened(recording.stem, 120)}.{slug(query.label)}"
            number = 1
            while name.lower() in taken:  # file systems may not tell upper from lower case
                number += 1
                name = f"{wanted}-{number}"
            taken.add(name.lower())
            jobs.append(Job(recording, query, out / f"{name}.estimate.wav", out / f"{name}.residual.wav"))
    inputs = {file.resolve(): "the example of a query" for query in queries for file in query.files}
    inputs |= {recording.resolve(): "a recording" for recording in recordings}
    for job in jobs:
        for result in (job.estimate_path, job.residual_path):
            if (overwritten := inputs.get(result.resolve())) is not None:
                raise AudioSepError(
                    f"The result {printable(result)} would overwrite {overwritten}: choose another --out."
                )
    return jobs


def slug(query: str) -> str:
    """Returns a query as a part of a file name: letters and digits of any script, joined by hyphens."""
    words = re.sub(r"[\W_]+", "-", query.lower()).strip("-")
    return _shortened(words, 80).strip("-") or "query"


def _shortened(text: str, size: int) -> str:
    # File names end at 255 bytes on most systems.
    encoded = os.fsencode(text)
    return text if len(encoded) <= size else encoded[:size].decode("utf-8", "ignore")
