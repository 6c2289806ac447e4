"""The arguments of `audiosep separate`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeparateArgs:
    """Extract the described sounds from recordings.

    Writes RECORDING.QUERY.estimate.wav, the described sound, and RECORDING.QUERY.residual.wav, everything
    else; together they are the recording. Give the recordings first, then the queries:

    audiosep separate street.wav park.flac --query "a dog barks" rain

    A folder stands for all sound files below it, and a quoted pattern such as "takes/**/*.wav" for what it
    matches. What is done already is skipped, if it was made of the same recording in the same way. With - the
    sound comes from the standard input, as WAV or raw, and what is extracted goes to the standard output
    while it comes:

    arecord -f cd | audiosep separate - --query speech | aplay

    A model whose query encoder hears or sees takes examples of the sound, too; their results are named after
    the example's file. The exit status is 0 if everything was separated, 2 if anything failed, 130 at Ctrl-C;
    docs/command.md lists all.
    """

    inputs: Annotated[tuple[Path, ...], tyro.conf.arg(name="in", metavar="IN..."), tyro.conf.Positional]
    """Recordings: WAV, FLAC, OGG, MP3 and others, of any length, rate and number of channels; folders; quoted
    patterns; or - alone."""
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
    without: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TEXT...")] = ()
    """Sentences that describe what must be in no result. Without a query the result is everything else."""
    average: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """The sentences after one --query say the same in other words: they are averaged into one query."""
    weights: Annotated[tuple[float, ...], tyro.conf.arg(metavar="NUMBER...")] = ()
    """With --average: how much each sentence counts, in their order."""
    paraphrase: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Each sentence counts as the mean of itself and three other wordings, such as "the sound of …"; --preset
    quality does so, too."""
    stems: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """The queries share the recording: RECORDING.QUERY.stem.wav of each and RECORDING.rest.wav sum to it."""
    out: Path | None = None
    """Folder for the results, which is created; "separated" if none is given."""
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="FOLDER|ORG/NAME")] = None
    """Folder of the model, or org/name on the Hugging Face hub; without it the bundled one separates."""
    preset: Literal["standard", "quality", "fast", "live", "reference"] | None = None
    """What matters: docs/command.md says what each does. Files are separated by "standard", pipes by
    "live"."""
    channel_mask: Literal["each", "shared"] | None = None
    """Whether every channel is separated on its own, or all are filtered alike, which keeps the places of
    sounds and takes the time of one; "each" unless the preset says otherwise."""
    high_band: Literal["residual", "extend"] | None = None
    """Where that goes which lies above the model's band: to the residual, or where its highest part went."""
    upstream_windows: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Cut long recordings as the PyTorch reference does, into windows of 5 s that are joined without a
    fade; --preset reference is the same."""
    jobs: int | None = None
    """Recordings that are separated at once, one if nothing is given. Long ones use two cores each; many
    short ones gain by more."""
    again: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Separate what is done already, too."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print a line of JSON per result, and one for all, in the place of text."""
    rate: int | None = None
    """Of raw samples at the standard input: samples per second. Without it, WAV is expected."""
    channels: int | None = None
    """Of raw samples: interleaved channels, one if nothing is given."""
    encoding: Literal["u8", "s16le", "s24le", "s32le", "f32le", "f64le"] | None = None
    """Of raw samples, s16le if nothing is given, and of what goes out, also where WAV comes in."""
    to: Literal["wav", "raw"] | None = None
    """What goes to the standard output; without it, the same as comes in."""
