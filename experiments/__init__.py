"""One experiment per file: each defines `CONFIG` and says its command and the number it reaches."""
