"""The result of a suite as Markdown: its table, its SNRs and kinds of query, and its classes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from audiosep_jax.evals.report import markdown_table
from audiosep_jax.evals.statistics import Interval
from audiosep_jax.evals.suites.comparison import Comparison
from audiosep_jax.evals.suites.results import BenchmarkResult, DatasetResult, Gain, Group, KindResult
from audiosep_jax.utils.atomic import replacing

TITLES = {
    "sdr_db": "SDR",
    "sdri_db": "SDRi",
    "si_sdr_db": "SI-SDR",
    "si_sdri_db": "SI-SDRi",
    "pesq": "PESQ",
    "csig": "CSIG",
    "cbak": "CBAK",
    "covl": "COVL",
    "segsnr_db": "segmental SNR",
    "stoi": "STOI",
    "clap_score": "CLAPScore",
    "clap_score_i": "CLAPScore-i",
    "ref_clap_score": "RefCLAPScore",
}
POOLINGS = {
    "mean": "mean over mixtures",
    "class_mean": "mean over classes of their means",
    "class_median": "mean over classes of their medians",
}
SHOWN_UNUSABLE = 20


def write_tables(result: BenchmarkResult, folder: Path) -> None:
    """Writes table.md, and classes.md where a dataset has classes."""
    _write(markdown(result), folder / "table.md")
    if text := class_markdown(result):
        _write(text, folder / "classes.md")


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Writes `comparison_markdown`."""
    _write(comparison_markdown(comparison), path)


def markdown(result: BenchmarkResult) -> str:
    """Returns numbers per dataset with 95 % intervals, then kinds of query, SNRs and unusable mixtures."""
    lines = [f"## {result.model} on {result.suite}", ""]
    measured = [(dataset.name, dataset.kinds[0]) for dataset in result.datasets if dataset.kinds]
    lines += _table("dataset", measured, result.metrics)
    lines += [
        "",
        f"Estimates measured at {result.measure_hz / 1000:g} kHz"
        + (
            f"; the model works at {result.model_hz / 1000:g} kHz"
            if result.model_hz != result.measure_hz
            else ""
        )
        + ". SDR, SI-SDR and segmental SNR in dB; in brackets 95 % bootstrap intervals.",
        "",
        *(f"- {dataset.name}: {POOLINGS[dataset.pooling]}." for dataset in result.datasets),
    ]
    for dataset in result.datasets:
        lines += _kinds(dataset, result.metrics) + _ratios(dataset, result.metrics) + _unusable(dataset)
    return "\n".join(lines) + "\n"


def class_markdown(result: BenchmarkResult) -> str:
    """Returns the means per class of every dataset with classes, the best by the first metric on top."""
    lines, first = [], result.metrics[0]
    for dataset in result.datasets:
        if dataset.kinds and dataset.kinds[0].classes:
            rows = [(group.name, group) for group in dataset.kinds[0].classes]
            rows.sort(key=lambda row: -row[1].values[first].mean)
            lines += [f"## {result.model} on {dataset.name}, means per class", ""]
            lines += [*_table("class", rows, result.metrics), ""]
    return "\n".join(lines)


def comparison_markdown(comparison: Comparison) -> str:
    """Returns a table of differences for every dataset and kind of query."""
    before, after = comparison.before, comparison.after
    lines = [
        f"## {after} minus {before} on {comparison.suite}",
        "",
        "Positive: the second is better. In brackets the 95 % interval of the paired bootstrap, then its "
        "two-sided p-value.",
        "",
    ]
    header = ["dataset", "query", "mixtures", *_titles(comparison.metrics)]
    rows = [
        [
            one.dataset,
            one.kind,
            str(one.count),
            *(_gain(one.gains[name], name) for name in comparison.metrics),
        ]
        for one in comparison.rows
    ]
    return "\n".join([*lines, *markdown_table(header, rows)]) + "\n"


def _kinds(dataset: DatasetResult, metrics: Sequence[str]) -> list[str]:
    if len(dataset.kinds) < 2:
        return []
    first = dataset.kinds[0].kind
    rows = []
    for kind in dataset.kinds:
        cells = []
        for name in metrics:
            cell = _value(kind.values[name], name)
            if name in kind.over_first:
                cell += f"; {_gain(kind.over_first[name], name)}"
            cells.append(cell)
        rows.append([kind.kind, str(kind.count), *cells])
    return [
        "",
        f"### {dataset.name} by kind of query",
        "",
        *markdown_table(["query", "mixtures", *_titles(metrics)], rows),
        "",
        f'After the semicolon: difference to "{first}" on the mixtures that have both, paired bootstrap.',
    ]


def _ratios(dataset: DatasetResult, metrics: Sequence[str]) -> list[str]:
    if not dataset.kinds or not dataset.kinds[0].snrs:
        return []
    rows = [(group.name, group) for group in dataset.kinds[0].snrs]
    return ["", f"### {dataset.name} by SNR", "", *_table("SNR (dB)", rows, metrics)]


def _unusable(dataset: DatasetResult) -> list[str]:
    if not dataset.unusable:
        return []
    lines = [
        "",
        f"**{dataset.name}: {len(dataset.unusable)} of {dataset.listed} mixtures are left out**, so that "
        "these numbers are not those of the benchmark:",
        "",
        *(f"- {name}: {why}" for name, why in dataset.unusable[:SHOWN_UNUSABLE]),
    ]
    more = len(dataset.unusable) - SHOWN_UNUSABLE
    return [*lines, *([f"- and {more} more, see result.json"] if more > 0 else [])]


def _table(what: str, results: Iterable[tuple[str, Group | KindResult]], metrics: Sequence[str]) -> list[str]:
    rows = [
        [name, str(one.count), *(_value(one.values[metric], metric) for metric in metrics)]
        for name, one in results
    ]
    return markdown_table([what, "mixtures", *_titles(metrics)], rows)


def _titles(metrics: Sequence[str]) -> list[str]:
    return [TITLES[name] for name in metrics]


def _decimals(metric: str) -> int:
    return 2 if metric.endswith("_db") else 3


def _value(value: Interval, metric: str) -> str:
    places = _decimals(metric)
    return f"{value.mean:.{places}f} ({value.low:.{places}f} … {value.high:.{places}f})"


def _gain(gain: Gain, metric: str) -> str:
    places, value = _decimals(metric), gain.difference
    ends = f"{value.low:+.{places}f} … {value.high:+.{places}f}"
    return f"{value.mean:+.{places}f} ({ends}), p = {gain.p_value:.2g}"


def _write(text: str, path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")
