"""The attribution of the clips: who made what, under which licence, and where that is stated."""

import collections
from collections.abc import Iterable, Mapping

from data_pipelines.corpora.open_sounds import debs, table
from data_pipelines.corpora.open_sounds.table import ClipEntry

FILE_NAME = "ATTRIBUTION.md"

_HEAD = """# Attribution

The clips were cut from the sounds of these Debian packages, or put together or rendered from them. They are
mono, 32 kHz, at one level. Each package names its authors in the file under "stated in", which is a path in
the package. Licences such as CC-BY-SA and GPL ask for the same licence for what is derived from the sounds;
"or" means a choice.
"""


def text(entries: Iterable[ClipEntry], packages: Mapping[str, debs.Deb]) -> str:
    """Returns the attribution of some clips in Markdown, from the given packages."""
    by_package: dict[str, list[ClipEntry]] = collections.defaultdict(list)
    for entry in entries:
        by_package[entry.package].append(entry)
    lines = [_HEAD, "| package | version | licence: clips | stated in | minutes |", "|---|---|---|---|---:|"]
    lines += [
        f"| {name} | {packages[name].version} | {_licences(of_it)} | {table.packages()[name].stated_in} "
        f"| {table.minutes(of_it):.1f} |"
        for name, of_it in sorted(by_package.items())
    ]
    lines.append("\n## Clips")
    for name, of_it in sorted(by_package.items()):
        lines.append(f"\n### {name}\n")
        by_licence: dict[str, list[str]] = collections.defaultdict(list)
        for entry in sorted(of_it, key=lambda entry: entry.clip):
            by_licence[entry.licence].append(entry.clip)
        lines += [f"- {licence}: {', '.join(clips)}" for licence, clips in sorted(by_licence.items())]
    return "\n".join(lines) + "\n"


def _licences(entries: Iterable[ClipEntry]) -> str:
    counts = collections.Counter(entry.licence for entry in entries)
    return ", ".join(f"{licence}: {count}" for licence, count in counts.most_common())
