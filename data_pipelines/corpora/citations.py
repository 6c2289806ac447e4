"""The publications that the corpora ask to cite, in BibTeX."""

from pathlib import Path

_ENTRIES = Path(__file__).with_name("citations.bib").read_text("utf-8").rstrip().split("\n\n")


def citation(key: str) -> str:
    """Returns the entry of citations.bib with a key.

    >>> citation("piczak2015esc").splitlines()[0]
    '@inproceedings{piczak2015esc,'
    """
    return next(entry for entry in _ENTRIES if f"{{{key}," in entry)
