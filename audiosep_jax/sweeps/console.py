"""Prints tables whole on consoles of any width."""

from rich import box
from rich.console import Console
from rich.table import Table

_MARGIN = 3
"""Characters beside the text of a table's column: two spaces and a line."""


def print_whole(console: Console, table: Table) -> None:
    """Prints a table of texts without breaking a number or a name.

    Headers fold at spaces. A table that is still too wide is printed as Markdown, wider than the console,
    with its caption below.
    """
    body = [max(map(len, map(str, column.cells)), default=0) for column in table.columns]
    for column, widest in zip(table.columns, body, strict=True):
        column.min_width = max(widest, *map(len, str(column.header).split()))
    if sum((column.min_width or 0) + _MARGIN for column in table.columns) < console.width:
        console.print(table)
        return
    title, caption = table.title, table.caption
    table.title = table.caption = None
    table.box = box.MARKDOWN
    width = 1
    for column, widest in zip(table.columns, body, strict=True):
        column.min_width = max(widest, len(str(column.header)))
        width += column.min_width + _MARGIN
    whole = Console(width=width, color_system=None)
    with whole.capture() as captured:
        whole.print(table)
    lines = [line for line in captured.get().splitlines() if line.strip()]
    console.print(title or "")
    print("", *lines, "", sep="\n", file=console.file)
    console.print(caption or "")
