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

    A folder stands for all sound files below it, and a quoted pattern such as "takes/**/*.wav" for all files
    that it matches. A result that was made before from the same recording in the same way is skipped. With -
    the command separates the standard input, as WAV or raw samples, into the standard output as it arrives:

    arecord -f cd | audiosep separate - --query speech | aplay

    Models with the query encoder "clap" or "clip" also take examples of the sound; their results are named
    after the example's file. The exit status is 0 if everything was separated, 2 if anything failed, 130 at
    Ctrl-C; docs/command.md lists all.
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
    """Pictures of the source of the sound, if the model's query encoder is "clip". All pictures after one
    --query-image make one query; give it again for another query."""
    without: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TEXT...")] = ()
    """Sentences that describe sounds that must be in no result. Without a query the result is everything
    else."""
    average: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Average the sentences after one --query, which say the same in other words, into one query."""
    weights: Annotated[tuple[float, ...], tyro.conf.arg(metavar="NUMBER...")] = ()
    """With --average: how much each sentence counts, in their order."""
    paraphrase: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace each sentence by the mean of itself and three other wordings, such as "the sound of …";
    --preset quality does so, too."""
    stems: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Divide the recording among the queries: RECORDING.QUERY.stem.wav of all queries and RECORDING.rest.wav
    sum to it."""
    out: Path | None = None
    """Folder for the results, which is created; "separated" unless given."""
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="FOLDER|ORG/NAME")] = None
    """Folder of the model, or org/name on the Hugging Face hub; the bundled model unless given."""
    preset: Literal["standard", "quality", "fast", "live", "reference"] | None = None
    """Options for a purpose; docs/command.md says what each preset does. Unless given, files are separated by
    "standard", pipes by "live"."""
    channel_mask: Literal["each", "shared"] | None = None
    """With "each", every channel is separated on its own; "shared" filters all channels alike, which keeps
    the places of sounds and takes the time of one channel. It is "each" unless the preset sets another."""
    high_band: Literal["residual", "extend"] | None = None
    """What happens above the model's Nyquist frequency: "residual" leaves it to the residual, "extend" splits
    it as the highest part of the model's band."""
    level: Literal["working", "as_is"] | None = None
    """With "working", the model hears a quiet or very loud recording at the level that it is best at, and the
    results keep the recording's level; "as_is" leaves the recording as it is. It is "working" unless the
    preset sets another."""
    upstream_windows: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Cut long recordings as the PyTorch reference does, into windows of 5 s that are joined without a fade,
    like --preset reference."""
    jobs: int | None = None
    """Recordings that are separated at once, 1 unless given. A long recording uses two cores; more jobs
    make many short ones faster."""
    again: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Make results again that are there already."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print a line of JSON per result and one summary, instead of text."""
    rate: int | None = None
    """Samples per second of raw samples at the standard input; without --rate the input must be WAV."""
    channels: int | None = None
    """Interleaved channels of raw samples, 1 unless given."""
    encoding: Literal["u8", "s16le", "s24le", "s32le", "f32le", "f64le"] | None = None
    """Encoding of raw samples, s16le unless given, and of the output, also if the input is WAV."""
    to: Literal["wav", "raw"] | None = None
    """Container of the standard output, that of the input unless given."""
