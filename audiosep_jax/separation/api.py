"""The separator as a user meets it: a recording and queries in, the described sounds and the rest out."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
from jaxtyping import Float

from audiosep_jax.audio.residual import split, split_stems
from audiosep_jax.checkpoints import folder, hub
from audiosep_jax.errors import CheckpointError, QueryError
from audiosep_jax.separation import example_queries, presence
from audiosep_jax.separation.checks import checked_rate, checked_waveform
from audiosep_jax.separation.files import Outputs, Progress, Written, separate_file
from audiosep_jax.separation.model import Core
from audiosep_jax.separation.options import Options, checked
from audiosep_jax.separation.queries import Query, QueryLike, described, several
from audiosep_jax.separation.results import FileSeparation, Separation, Stems

# What lies between the waveform and the estimates is bounded by blocks, as it is for files.
_BLOCK = 1 << 18

BUNDLED_CHECKPOINT = Path(__file__).parents[1] / "assets" / "audiosep-tiny"


@dataclasses.dataclass(frozen=True, eq=False)
class AudioSep(Core):
    """A separator with its weights and its query encoder. It is never changed; `load` makes one.

    All methods that separate take the keyword arguments of `options.Options`, and warn with an
    `AbsentQueryWarning` of a query that seems absent, if the checkpoint says from which level on that is.
    """

    def separate(
        self,
        waveform: Float[np.ndarray, "*channels samples"],
        sample_rate_hz: int,
        *,
        query: QueryLike | None = None,
        query_audio: example_queries.AudioExample | None = None,
        query_images: Sequence[example_queries.ImageExample] | None = None,
        condition: Float[np.ndarray, " size"] | None = None,
        without: QueryLike | Sequence[QueryLike] = (),
        **given: Unpack[Options],
    ) -> Separation:
        """Separates a waveform of any length and rate.

        The estimate is rounded to 24 bits of the waveform's peak, so that estimate + residual is the waveform
        bit for bit where the waveform came from PCM of at most 24 bits, and within half a step of 24 bits
        where it did not. Nothing is normalised.

        Args:
          waveform: `[samples]` or `[channels, samples]`, floating point, full scale ±1.
          sample_rate_hz: of the waveform.
          query: a sentence that describes the sound to extract, or a `Query`; of the four, give exactly one,
            or none with `without`.
          query_audio: a sound like it, as in `condition`.
          query_images: pictures of its source, as in `condition`.
          condition: `[condition_size]`.
          without: what must not be in the estimate, as in `Query`; alone, the estimate is everything else.
          **given: see `options.Options`.

        Raises:
          AudioSepError: a waveform, rate, query, condition or option that cannot be used.
        """
        asked = described(query, query_audio, query_images, condition, without)
        return self.separate_queries(waveform, sample_rate_hz, queries=[asked], **given)[0]

    def separate_queries(
        self,
        waveform: Float[np.ndarray, "*channels samples"],
        sample_rate_hz: int,
        *,
        queries: Sequence[QueryLike],
        **given: Unpack[Options],
    ) -> tuple[Separation, ...]:
        """Separates a waveform by several queries in one pass, each as `separate` does it alone.

        Resampling, windows and spectra are computed once, and so is the mask of a description that several
        queries name.

        Raises:
          AudioSepError: as `separate`.
        """
        asked = several(queries)
        mixture, estimates, presences = self._estimates(waveform, sample_rate_hz, asked, False, given)
        peak = float(np.abs(mixture).max())
        separations = []
        for query, estimate, found in zip(asked, estimates, presences, strict=True):
            taken, left = split(mixture, estimate, peak=peak)
            if not query.parts:  # of a query that only takes out, the rest is the result
                taken, left = left, taken
            separations.append(Separation(taken, left, checked_rate(sample_rate_hz), found))
        return tuple(separations)

    def separate_stems(
        self,
        waveform: Float[np.ndarray, "*channels samples"],
        sample_rate_hz: int,
        *,
        queries: Sequence[QueryLike],
        **given: Unpack[Options],
    ) -> Stems:
        """Divides a waveform among queries: in every place in time and frequency each gets its share.

        Shares go by the power that the model gives each query alone, and sum to at most everything; see
        `shares.stems`. The estimates, summed in their order, plus the rest are the waveform as exactly as
        estimate + residual in `separate`.

        Raises:
          AudioSepError: as `separate`, or a query has nothing but what it is without.
        """
        asked = several(queries)
        mixture, estimates, presences = self._estimates(waveform, sample_rate_hz, asked, True, given)
        parts, rest = split_stems(mixture, estimates, peak=float(np.abs(mixture).max()))
        return Stems(
            estimates=tuple(parts),
            rest=rest,
            sample_rate_hz=checked_rate(sample_rate_hz),
            presences=presences,
        )

    def separate_file(
        self,
        path: str | Path,
        *,
        estimate_path: str | Path,
        residual_path: str | Path | None = None,
        query: QueryLike | None = None,
        query_audio: example_queries.AudioExample | None = None,
        query_images: Sequence[example_queries.ImageExample] | None = None,
        condition: Float[np.ndarray, " size"] | None = None,
        without: QueryLike | Sequence[QueryLike] = (),
        progress: Progress | None = None,
        **given: Unpack[Options],
    ) -> FileSeparation:
        """Separates a sound file of any length in constant memory.

        The outputs have the input's rate, channels and length. Their encoding is the input's where it is
        linear PCM, 24-bit PCM where it is lossy, 32-bit floating point where it is floating point. Estimate
        and residual add up to the input step for step in PCM, and as in `separate` in floating point.

        Args:
          path: the mixture, in any format that libsndfile reads.
          estimate_path: where the estimate goes: .wav, or another lossless format that holds the encoding.
          residual_path: where the residual goes, if anywhere.
          query: as in `separate`, and so are the four that follow.
          query_audio: as in `separate`.
          query_images: as in `separate`.
          condition: as in `separate`.
          without: as in `separate`.
          progress: called with the samples done and the samples in all, per channel.
          **given: see `options.Options`.

        Raises:
          AudioSepError: as `separate`; or a file cannot be read or written, or would be overwritten.
        """
        asked = described(query, query_audio, query_images, condition, without)
        outputs = [(estimate_path, residual_path)]
        return self.separate_file_queries(path, queries=[asked], outputs=outputs, progress=progress, **given)[
            0
        ]

    def separate_file_queries(
        self,
        path: str | Path,
        *,
        queries: Sequence[QueryLike],
        outputs: Sequence[tuple[str | Path, str | Path | None]],
        progress: Progress | None = None,
        **given: Unpack[Options],
    ) -> tuple[FileSeparation, ...]:
        """Separates a sound file by several queries in one pass, each as `separate_file` does it alone.

        Args:
          path: the mixture.
          queries: one per result.
          outputs: where estimate and residual (None for nowhere) of each query go.
          progress: as in `separate_file`.
          **given: see `options.Options`.

        Raises:
          AudioSepError: as `separate_file`.
        """
        asked = several(queries)
        if len(outputs) != len(asked):
            raise QueryError(
                f"{len(asked)} queries and {len(outputs)} outputs were given: each query has its own."
            )
        # Of a query that only takes out, the rest is the result.
        pairs = [
            Outputs.of(pair[:1], pair[1]) if query.parts else Outputs.of(pair[1:], pair[0])
            for query, pair in zip(asked, outputs, strict=True)
        ]
        written, presences = self._to_files(path, asked, pairs, False, progress, given)
        levels = [level[not query.parts] for query, level in zip(asked, written.levels_db, strict=True)]
        return _results(written, outputs, levels, presences)

    def separate_file_stems(
        self,
        path: str | Path,
        *,
        queries: Sequence[QueryLike],
        stem_paths: Sequence[str | Path],
        rest_path: str | Path | None = None,
        progress: Progress | None = None,
        **given: Unpack[Options],
    ) -> tuple[FileSeparation, ...]:
        """Divides a sound file among queries as `separate_stems` does, in constant memory.

        The stems and the rest add up to the input as estimate and residual of `separate_file` do.

        Args:
          path: the mixture.
          queries: one per stem.
          stem_paths: where the stems go.
          rest_path: where goes what no query claims, if anywhere.
          progress: as in `separate_file`.
          **given: see `options.Options`.

        Raises:
          AudioSepError: as `separate_file` and `separate_stems`.
        """
        asked = several(queries)
        if len(stem_paths) != len(asked):
            raise QueryError(
                f"{len(asked)} queries and {len(stem_paths)} stems were given: each query has its own."
            )
        outputs = Outputs.of(stem_paths, rest_path)
        written, presences = self._to_files(path, asked, [outputs], True, progress, given)
        pairs = [(stem, rest_path) for stem in stem_paths]
        return _results(written, pairs, written.levels_db[0][:-1], presences)

    def _estimates(
        self, waveform: np.ndarray, sample_rate_hz: int, queries: Sequence[Query], stems: bool, given: Options
    ) -> tuple[np.ndarray, np.ndarray, tuple[presence.Presence, ...]]:
        mixture, rate, chosen = checked_waveform(waveform), checked_rate(sample_rate_hz), checked(given)
        rows = np.atleast_2d(mixture)
        stream = self.stream_for(queries, chosen, stems=stems)(rows.shape[0], rate, rows.shape[1])
        with contextlib.closing(stream):
            blocks = [stream.push(rows[:, at : at + _BLOCK]) for at in range(0, rows.shape[1], _BLOCK)]
            estimates = np.concatenate([*blocks, stream.flush()], axis=-1)
        found = self.judged(queries, stream.levels_db(), chosen)
        return mixture, estimates.reshape(len(queries), *mixture.shape), found

    def _to_files(
        self,
        path: str | Path,
        queries: Sequence[Query],
        outputs: Sequence[Outputs],
        stems: bool,
        progress: Progress | None,
        given: Options,
    ) -> tuple[Written, tuple[presence.Presence, ...]]:
        chosen = checked(given)
        stream_for = self.stream_for(queries, chosen, stems=stems)
        written = separate_file(path, stream_for=stream_for, outputs=outputs, progress=progress)
        return written, self.judged(queries, written.estimates_db, chosen)


def _results(
    written: Written,
    pairs: Sequence[tuple[str | Path, str | Path | None]],
    levels_db: Sequence[float],
    presences: Sequence[presence.Presence],
) -> tuple[FileSeparation, ...]:
    return tuple(
        FileSeparation(
            estimate_path=Path(estimate_path),
            residual_path=None if residual_path is None else Path(residual_path),
            subtype=written.subtypes[Path(estimate_path)],
            sample_rate_hz=written.sample_rate_hz,
            channels=written.channels,
            samples=written.samples,
            level_db=level,
            presence=found,
        )
        for (estimate_path, residual_path), level, found in zip(pairs, levels_db, presences, strict=True)
    )


def load(checkpoint: str | Path | None = None) -> AudioSep:
    """Loads a separator.

    Args:
      checkpoint: a checkpoint folder, or a model on the Hugging Face hub: "org/name", or "org/name@revision".
        None takes the one that comes with the package.

    Raises:
      AudioSepError: the folder is missing, incomplete or damaged, or the hub's model is neither cached nor to
        be downloaded.
    """
    if checkpoint is None and not BUNDLED_CHECKPOINT.is_dir():
        raise CheckpointError("This installation comes without a checkpoint: give the folder of one.")
    place = BUNDLED_CHECKPOINT if checkpoint is None else hub.resolve(checkpoint)
    loaded = folder.load(place)
    return AudioSep(loaded.config, loaded.variables, presence.load(place))
