"""The corpus `open_sounds`: clips cut and rendered from Debian packages."""
