"""A corpus that `audiosep render` made, as a suite of its own."""

import json
from pathlib import Path

from audiosep_jax.errors import EvaluationError, printable
from audiosep_jax.evals.suites.definitions import Dataset, Suite
from audiosep_jax.evals.suites.mixtures import Mixture, Query

MANIFEST = "manifest.json"

# SNRs that were drawn from a range are tabled by the nearest multiple of this.
SNR_STEP_DB = 5


def rendered_suite(root: Path) -> Suite:
    """Returns the suite of one corpus: the mean over its mixtures, at its rate, by class and by SNR.

    Args:
      root: the corpus's folder, with its manifest.

    Raises:
      AudioSepError: the folder holds no corpus, or its manifest is damaged.
    """
    path = root / MANIFEST
    try:
        manifest = json.loads(path.read_text("utf-8"))
        recipe, name = manifest["recipe"], str(manifest["name"])
        kind, drawn = str(recipe["query"]), bool(recipe["snr_range_db"])
        mixtures = [
            Mixture(
                dataset=name,
                id=str(int(one["index"])),
                target=root / f"segment-{int(one['index'])}.wav",
                other=root / f"mixture-{int(one['index'])}.wav",
                queries=(Query(kind=kind, text=str(one["caption"])),),
                label=str(one["label"]),
                source=str(one["parts"][0].get("recording") or one["parts"][0]["file"]),
                snr_db=_rounded(float(one["snr_db"])) if drawn else float(one["snr_db"]),
            )
            for one in manifest["mixtures"]
        ]
        rate, digest = int(recipe["sample_rate_hz"]), str(manifest["digest"])
    except FileNotFoundError:
        raise EvaluationError(
            f"{printable(path)} does not exist: give --root the folder of a corpus that audiosep render "
            "wrote."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise EvaluationError(f"{printable(path)} is damaged: render the corpus again.") from error
    if not mixtures or rate < 1:
        raise EvaluationError(f"{printable(path)} lists no mixture: render the corpus again.")
    dataset = Dataset(name=name, read=lambda metadata, root: mixtures)
    return Suite(name="rendered", datasets=(dataset,), measure_hz=rate, digest=digest)


def _rounded(snr_db: float) -> float:
    # Adding zero turns -0 into 0.
    return SNR_STEP_DB * round(snr_db / SNR_STEP_DB) + 0.0
