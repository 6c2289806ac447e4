"""Builds the API reference, a small site of static pages, from the docstrings of what users import.

  python -m docs.reference

It needs the extra `reference` (pdoc) and writes build/reference/index.html.
"""

import argparse
import contextlib
import importlib
import io
import sys
import warnings
from pathlib import Path

# Modules that users import, in the order of the pages. All others are internal and may change.
PUBLIC = (
    "audiosep_jax",
    "audiosep_jax.separation.api",
    "audiosep_jax.separation.options",
    "audiosep_jax.separation.results",
    "audiosep_jax.separation.presence",
    "audiosep_jax.separation.live",
    "audiosep_jax.audio.reading",
    "audiosep_jax.audio.writing",
    "audiosep_jax.audio.resample",
    "audiosep_jax.audio.windows",
    "audiosep_jax.audio.stft",
    "audiosep_jax.audio.mixing",
    "audiosep_jax.audio.residual",
    "audiosep_jax.config",
    "audiosep_jax.models.separator",
    "audiosep_jax.encoders.base",
    "audiosep_jax.checkpoints.folder",
    "audiosep_jax.checkpoints.hub",
    "audiosep_jax.checkpoints.hub_upload",
    "audiosep_jax.export.exporter",
    "audiosep_jax.train.loop",
    "audiosep_jax.evals.metrics",
    "audiosep_jax.evals.evaluate",
    "audiosep_jax.evals.evaluation_set",
    "audiosep_jax.evals.report",
    "audiosep_jax.plotting.spectrograms",
)
STYLE = Path(__file__).with_name("reference_style")


def build(out: Path) -> list[str]:
    """Writes the site.

    Args:
      out: folder of index.html; it is created.

    Returns:
      The warnings of the generator, for example about a name that does not resolve; empty if there are none.
    """
    import pdoc
    import pdoc.render

    # The package imports its names lazily, and the generator does not trigger that.
    front = importlib.import_module("audiosep_jax")
    for name in front.__all__:
        setattr(front, name, getattr(front, name))
    pdoc.render.configure(
        docformat="google", show_source=False, search=True, template_directory=STYLE, footer_text=""
    )
    errors = io.StringIO()
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stderr(errors):
        warnings.simplefilter("always")
        pdoc.pdoc(*PUBLIC, output_directory=out)
    return [str(warning.message) for warning in caught] + errors.getvalue().splitlines()


def main() -> int:
    """Builds the site; returns 1 if the generator warned."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("build/reference"), help="folder of the site")
    out = parser.parse_args().out
    for message in (messages := build(out)):
        print(f"reference: warning: {message}", file=sys.stderr)
    print(out / "index.html")
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())
