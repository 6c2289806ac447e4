"""A parsed page, a fabricated training, and a fabricated evaluation."""

import base64
import html.parser
import io
import json

import numpy as np
import soundfile

from audiosep_jax.evals.evaluate import ClassResult, EvaluationResult, ExampleResult
from audiosep_jax.evals.statistics import Interval

HOSTILE = "<script>alert('x')</script> & \"$\\frac$\" \x00\u202e"
_VOID = {"meta", "img"}


class Page(html.parser.HTMLParser):
    """The parts of a page as a browser shows them.

    Attributes:
      tags: `(name, attributes)` in their order.
      texts: of all elements but the style.
      tables: rows of cells.
      sounds: `(label, [samples, channels] int16, rate)` of every player.
      pictures: `(alt, bytes)`.
    """

    def __init__(self, source):
        super().__init__()
        self.tags, self.texts, self.tables = [], [], []
        self.sounds, self.pictures, self._open = [], [], []
        self.feed(source)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append((tag, values))
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag == "img":
            self.pictures.append((values["alt"], _data(values["src"], "image/png")))
        if tag == "audio":
            file = io.BytesIO(_data(values["src"], "audio/flac"))
            samples, rate = soundfile.read(file, dtype="int16", always_2d=True)
            self.sounds.append((values["aria-label"], samples, rate))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "style":
            return
        self.texts.append(data)
        if self._open and self._open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def check_self_contained(self):
        assert not {"script", "iframe", "object", "embed", "link", "base"} & {tag for tag, _ in self.tags}
        for _, values in self.tags:
            assert not [name for name in values if name.startswith("on")]
            for name in ("src", "href", "srcset", "action"):
                assert values.get(name, "data:").startswith("data:")
        assert all(alt.strip() for alt, _ in self.pictures)
        policies = [values for tag, values in self.tags if tag == "meta" and "http-equiv" in values]
        assert "default-src 'none'" in policies[0]["content"]


def read_page(folder):
    source = (folder / "report.html").read_text("utf-8")
    assert source.startswith("<!doctype html>\n")
    page = Page(source)
    page.check_self_contained()
    return page


def _data(address, kind):
    start = f"data:{kind};base64,"
    assert address.startswith(start)
    return base64.b64decode(address[len(start) :], validate=True)


def write_run(folder, *, records=45, seed=0, spikes=True):
    """Writes the record of a training as the loop writes it; returns its losses by step."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    losses, lines = {}, []
    for number in range(1, records + 1):
        step = 20 * number
        losses[step] = float(rng.normal(-5, 0.5))
        numbers = {
            "loss": losses[step],
            "gradient_norm": float(rng.uniform(1, 20)),
            "examples_per_second": 90.0,
            "data_wait_share": 0.01,
            "seconds/data": 0.0,
            "learning_rate": 0.001,
        }
        lines.append({"step": step, **numbers})
        if number % 15 == 0:
            reached = {"sdr_db": 5.0, "sdri_db": number / 10, "si_sdr_db": 4.0, "si_sdri_db": number / 20}
            lines.append({"step": step, **{f"validation/{name}": value for name, value in reached.items()}})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    if spikes:
        files = [{"caption": "a dog", "modality": "text", "files": ["d.ogg"]}]
        seen = [
            {"step": 99, "loss": 7.5, "skipped": False, "mean": -5.0, "deviation": 0.5, "examples": files},
            {"step": 149, "loss": None, "skipped": True, "examples": files},
        ]
        for name in ("spikes.jsonl", "spikes_00001.jsonl"):  # two processes saw the same steps
            (folder / name).write_text("".join(json.dumps(line) + "\n" for line in seen), "utf-8")
    return losses


def evaluation(labels, *, each=3, seed=0):
    """A fabricated result of an evaluation; each class is better than the one before."""
    rng = np.random.default_rng(seed)
    examples, classes = [], []
    for place, label in enumerate(labels):
        values = place + rng.uniform(-0.3, 0.3, each)
        for value in values:
            row = {name: float(value) for name in ("sdr_db", "sdri_db", "si_sdr_db", "si_sdri_db")}
            examples.append(
                ExampleResult(
                    index=len(examples),
                    target_file=f"{place}.wav",
                    target_label=label,
                    interferer_file="other.wav",
                    interferer_label="other",
                    query=label,
                    **row,
                )
            )
        classes.append(_class(label, values))
    return EvaluationResult(
        set_name="fabricated",
        model="tiny",
        sample_rate_hz=8000,
        model_sample_rate_hz=8000,
        seconds=1.0,
        examples=tuple(examples),
        absent=(),
        overall=_class("all", np.array([row.sdri_db for row in examples])),
        classes=tuple(classes),
        absent_attenuation_db=None,
    )


def _class(label, values):
    mean = float(np.mean(values))
    interval = Interval(mean=mean, low=mean - 0.2, high=mean + 0.4)
    names = ("sdri_db", "sdr_db", "si_sdr_db", "si_sdri_db")
    return ClassResult(label=label, count=len(values), **dict.fromkeys(names, interval))
