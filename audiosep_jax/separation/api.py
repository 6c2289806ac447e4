"""The separator: a recording and queries in; the described sounds and everything else out."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Unpack

import jax
import numpy as np
from jaxtyping import Array, Float, Float32

from audiosep_jax.audio.levels import level_db
from audiosep_jax.audio.reading import AudioReader
from audiosep_jax.audio.resample import resampled_length
from audiosep_jax.audio.residual import split, split_stems
from audiosep_jax.checkpoints import folder
from audiosep_jax.checkpoints.bundled import find_checkpoint
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import QueryError, UsageError
from audiosep_jax.models import separator
from audiosep_jax.models.inference import engine
from audiosep_jax.separation import example_queries, presence
from audiosep_jax.separation.checks import check_batch, checked_rate, checked_waveform
from audiosep_jax.separation.conditions import Conditions
from audiosep_jax.separation.estimator import Estimator, task_for
from audiosep_jax.separation.files import Outputs, Progress, StreamFor, separate_file
from audiosep_jax.separation.options import OptionFields, Options
from audiosep_jax.separation.queries import Query, QueryLike, query_from, query_list
from audiosep_jax.separation.results import FileSeparation, Separation, Stems, file_separations
from audiosep_jax.separation.scale import warn_of_scale
from audiosep_jax.separation.stream import EstimateStream, Work, estimates_of
from audiosep_jax.separation.window_plans import upstream_plan, window_plan


@dataclasses.dataclass(frozen=True, eq=False)
class AudioSep:
    """A separator: weights and their query encoder. It never changes; `load` makes one.

    All methods that separate take the fields of `options.Options` as keyword arguments. They warn with an
    `AbsentQueryWarning` when a query's sound seems absent, if there is a calibration or `absent_below_db`.

    Attributes:
      config: of the experiment that trained the model.
      variables: "params" and "batch_stats" of the model.
      calibration: what the level of an estimate says about whether the sound is there; None if that was not
        measured.
    """

    config: ExperimentConfig
    variables: dict[str, Any]
    calibration: presence.Calibration | None = None

    @property
    def sample_rate_hz(self) -> int:
        """The model's rate. Other rates are converted; `high_band` says what happens above half of it."""
        return self.config.model.sample_rate_hz

    @property
    def encoder_fingerprint(self) -> str:
        """Hash of the query encoder: conditions of equal hashes are comparable.

        Raises:
          AudioSepError: the encoder cannot be loaded, or does not fit the model.
        """
        return self._conditions.encoder.fingerprint

    def apply(
        self, mixture: Float[Array, "batch samples"], condition: Float[Array, "batch size"]
    ) -> Float[Array, "batch samples"]:
        """The raw model call: one compiled program per shape, differentiable, usable inside `jax.jit`.

        Args:
          mixture: `[batch, samples]` at the model's rate.
          condition: `[batch, condition_size]`.

        Returns:
          The estimate, `[batch, samples]`.

        Raises:
          WaveformError: a shape does not fit.
        """
        check_batch(mixture, condition, self.config.model.condition_size)
        return self._compiled(mixture, condition)

    def condition(
        self,
        *,
        query: QueryLike | None = None,
        query_audio: example_queries.AudioExample | None = None,
        query_images: Sequence[example_queries.ImageExample] | None = None,
        condition: Float[np.ndarray, " size"] | None = None,
    ) -> Float32[np.ndarray, " size"]:
        """Returns the condition that says which sound to extract. Give exactly one argument.

        Args:
          query: a sentence that describes the sound; or a `Query`, whose parts are averaged.
          query_audio: a similar sound: a file, or a pair of waveform and rate in Hz. Channels are averaged,
            the first 10 s count. The model needs the query encoder "clap".
          query_images: pictures of the source, for example the frames of a clip: files, or uint8
            `[height, width, 3]`. Their mean counts. The model needs the query encoder "clip".
          condition: `[condition_size]`, checked and returned.

        Raises:
          QueryError: not exactly one argument, one that cannot be used, or one that the model's query
            encoder cannot take.
          AudioSepError: an example cannot be read, or the query encoder cannot be loaded.
        """
        chosen = query_from(query, query_audio, query_images, condition)
        if chosen.negatives:
            raise QueryError("A condition cannot hold `without`: give the query alone.")
        return self._conditions.condition(chosen)

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
        **options: Unpack[OptionFields],
    ) -> Separation:
        """Separates a waveform of any length and rate.

        The estimate is rounded to 24 bits of the waveform's peak. So estimate + residual is the waveform bit
        for bit if the waveform came from PCM of at most 24 bits, and within half a step of 24 bits otherwise.
        Loudness stays as it is. Samples far beyond full scale get a `ScaleWarning`.

        Args:
          waveform: `[samples]` or `[channels, samples]`, floating point, full scale ±1.
          sample_rate_hz: of the waveform.
          query: a sentence that describes the sound to extract, or a `Query`. Give exactly one of query,
            query_audio, query_images and condition; or none of them and `without`.
          query_audio: a similar sound, as in `condition`.
          query_images: pictures of the source, as in `condition`.
          condition: `[condition_size]`.
          without: what must not be in the estimate, as in `Query`; alone, the estimate is everything else.
          **options: see `options.Options`.

        Raises:
          AudioSepError: a waveform, rate, query, condition or option that cannot be used.
        """
        chosen = query_from(query, query_audio, query_images, condition, without)
        return self.separate_queries(waveform, sample_rate_hz, queries=[chosen], **options)[0]

    def separate_queries(
        self,
        waveform: Float[np.ndarray, "*channels samples"],
        sample_rate_hz: int,
        *,
        queries: Sequence[QueryLike],
        **options: Unpack[OptionFields],
    ) -> tuple[Separation, ...]:
        """Separates a waveform by several queries in one pass, each as `separate` does it alone.

        Resampling, windows and spectra are computed once, and so is the mask of a description that several
        queries share.

        Raises:
          AudioSepError: as `separate`.
        """
        chosen = query_list(queries)
        mixture, estimates, presences = self._estimates(waveform, sample_rate_hz, chosen, False, options)
        peak = float(np.abs(mixture).max())
        separations = []
        for query, estimate, found in zip(chosen, estimates, presences, strict=True):
            taken, left = split(mixture, estimate, peak=peak)
            if not query.parts:  # the model estimates the negatives; the rest is the result
                taken, left = left, taken
            separations.append(Separation(taken, left, checked_rate(sample_rate_hz), found))
        return tuple(separations)

    def separate_stems(
        self,
        waveform: Float[np.ndarray, "*channels samples"],
        sample_rate_hz: int,
        *,
        queries: Sequence[QueryLike],
        **options: Unpack[OptionFields],
    ) -> Stems:
        """Divides a waveform among queries: each gets its share of every time and frequency.

        The shares follow the power that the model gives each query alone, and sum to at most one. The
        estimates, summed in their order, plus the rest are the waveform as exactly as estimate + residual in
        `separate`.

        Raises:
          AudioSepError: as `separate`, or a query has only `without`.
        """
        chosen = query_list(queries)
        mixture, estimates, presences = self._estimates(waveform, sample_rate_hz, chosen, True, options)
        parts, rest = split_stems(mixture, estimates, peak=float(np.abs(mixture).max()))
        rate = checked_rate(sample_rate_hz)
        return Stems(estimates=tuple(parts), rest=rest, sample_rate_hz=rate, presences=presences)

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
        **options: Unpack[OptionFields],
    ) -> FileSeparation:
        """Separates a sound file of any length in constant memory.

        The outputs have the input's rate, channels and length. Their encoding is the input's if that is
        linear PCM, 24-bit PCM if it is lossy, 32-bit floating point if it is floating point. Estimate and
        residual sum to the input step for step in PCM, and as in `separate` in floating point.

        Args:
          path: the mixture, in any format that libsndfile reads.
          estimate_path: output of the estimate: .wav, or another lossless format that holds the encoding.
          residual_path: output of the residual; None writes none.
          query: as in `separate`, and so are the four that follow.
          query_audio: as in `separate`.
          query_images: as in `separate`.
          condition: as in `separate`.
          without: as in `separate`.
          progress: called with the samples done and the samples in all, per channel.
          **options: see `options.Options`.

        Raises:
          AudioSepError: as `separate`; or a file cannot be read or written, or would be overwritten.
        """
        chosen = query_from(query, query_audio, query_images, condition, without)
        outputs = [Outputs.of_query(chosen, estimate_path, residual_path)]
        return self._separate_file(path, [chosen], outputs, progress, False, options)[0]

    def separate_file_queries(
        self,
        path: str | Path,
        *,
        queries: Sequence[QueryLike],
        outputs: Sequence[tuple[str | Path, str | Path | None]],
        progress: Progress | None = None,
        **options: Unpack[OptionFields],
    ) -> tuple[FileSeparation, ...]:
        """Separates a sound file by several queries in one pass, each as `separate_file` does it alone.

        Args:
          path: the mixture.
          queries: one per result.
          outputs: the paths of estimate and residual of each query; None writes no residual.
          progress: as in `separate_file`.
          **options: see `options.Options`.

        Raises:
          AudioSepError: as `separate_file`.
        """
        chosen = query_list(queries)
        if len(outputs) != len(chosen):
            raise UsageError(f"{len(chosen)} queries and {len(outputs)} outputs were given: give one each.")
        parts = [Outputs.of_query(query, *paths) for query, paths in zip(chosen, outputs, strict=True)]
        return self._separate_file(path, chosen, parts, progress, False, options)

    def separate_file_stems(
        self,
        path: str | Path,
        *,
        queries: Sequence[QueryLike],
        stem_paths: Sequence[str | Path],
        rest_path: str | Path | None = None,
        progress: Progress | None = None,
        **options: Unpack[OptionFields],
    ) -> tuple[FileSeparation, ...]:
        """Divides a sound file among queries as `separate_stems` does, in constant memory.

        The stems and the rest sum to the input as estimate and residual of `separate_file` do.

        Args:
          path: the mixture.
          queries: one per stem.
          stem_paths: outputs of the stems.
          rest_path: output of what no query gets; None writes none.
          progress: as in `separate_file`.
          **options: see `options.Options`.

        Raises:
          AudioSepError: as `separate_file` and `separate_stems`.
        """
        chosen = query_list(queries)
        if len(stem_paths) != len(chosen):
            raise UsageError(f"{len(chosen)} queries and {len(stem_paths)} stems were given: give one each.")
        outputs = [Outputs.of_stems(stem_paths, rest_path)]
        return self._separate_file(path, chosen, outputs, progress, True, options)

    def stream_for(self, queries: Sequence[Query], options: Options, *, stems: bool = False) -> StreamFor:
        """Prepares a pass: encodes the queries, and computes what does not depend on the recording.

        Args:
          queries: one per estimate. For a query that has only `without`, the negatives are estimated.
          options: of the pass.
          stems: the estimates share the mixture.

        Returns:
          A function (channels, sample rate in Hz, samples, level in dBFS) -> the stream that estimates.

        Raises:
          AudioSepError: a query that cannot be used.
        """
        work, config = self.work(queries, options, stems=stems), self.config.model

        def stream(channels: int, sample_rate_hz: int, samples: int, level_db: float) -> EstimateStream:
            length = resampled_length(samples, from_hz=sample_rate_hz, to_hz=config.sample_rate_hz)
            plan = upstream_plan(config) if options.upstream_windows else window_plan(config, length)
            return EstimateStream(
                work,
                plan=plan,
                config=config,
                channels=channels,
                sample_rate_hz=sample_rate_hz,
                level_db=level_db,
            )

        return stream

    def work(self, queries: Sequence[Query], options: Options, *, stems: bool = False) -> Work:
        """Returns what is computed for every window; arguments and errors are those of `stream_for`."""
        return self._estimator.work(task_for(queries, self._conditions.condition, stems=stems), options)

    def _estimates(
        self, waveform: np.ndarray, rate_hz: int, queries: Sequence[Query], stems: bool, given: OptionFields
    ) -> tuple[np.ndarray, np.ndarray, tuple[presence.Presence, ...]]:
        mixture, rate, options = checked_waveform(waveform), checked_rate(rate_hz), Options(**given)
        warn_of_scale(float(np.abs(mixture).max()))
        rows = np.atleast_2d(mixture)
        loudness = level_db(rows, sample_rate_hz=rate)
        stream = self.stream_for(queries, options, stems=stems)(len(rows), rate, rows.shape[1], loudness)
        estimates = estimates_of(rows, stream)
        presences = self._presences(queries, stream.levels_db(), options)
        return mixture, estimates.reshape(len(queries), *mixture.shape), presences

    def _separate_file(
        self,
        path: str | Path,
        queries: Sequence[Query],
        outputs: Sequence[Outputs],
        progress: Progress | None,
        stems: bool,
        given: OptionFields,
    ) -> tuple[FileSeparation, ...]:
        options = Options(**given)
        stream_for = self.stream_for(queries, options, stems=stems)
        with AudioReader(path) as reader:
            written = separate_file(reader, stream_for=stream_for, outputs=outputs, progress=progress)
        warn_of_scale(written.peak, path=path)
        presences = self._presences(queries, written.presence_levels_db, options)
        return file_separations(written, outputs, presences)

    def _presences(
        self, queries: Sequence[Query], levels_db: Sequence[float], options: Options
    ) -> tuple[presence.Presence, ...]:
        below = options.absent_below_db
        found = tuple(presence.judged(level, self.calibration, absent_below_db=below) for level in levels_db)
        for query, each in zip(queries, found, strict=True):
            presence.warn_if_absent(each, query.name)
        return found

    @functools.cached_property
    def _conditions(self) -> Conditions:
        return Conditions(self.config)

    @functools.cached_property
    def _compiled(self) -> Callable[[Any, Any], Array]:
        apply = jax.jit(functools.partial(separator.apply, self.config.model))
        return functools.partial(apply, jax.device_put(self.variables))

    @functools.cached_property
    def _estimator(self) -> Estimator:
        return Estimator(engine.prepare(self.config.model, self.variables))


def load(checkpoint: str | Path | None = None) -> AudioSep:
    """Loads a separator.

    Args:
      checkpoint: a checkpoint folder, or a model on the Hugging Face hub: "org/name", or "org/name@revision".
        None and "audiosep-open" load the one that comes with the package.

    Raises:
      CheckpointError: the folder is missing, incomplete or damaged, or the hub's model is neither in the
        cache nor can be downloaded.
    """
    place = find_checkpoint(checkpoint)
    loaded = folder.load(place)
    return AudioSep(loaded.config, loaded.variables, presence.load(place))
