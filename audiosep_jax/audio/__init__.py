"""Pure functions on arrays and sound files: STFT, resampling, mixing, windows with overlap-add."""
