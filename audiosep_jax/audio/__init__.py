"""Arrays and files of sound: STFT, resampling, mixing, windows with overlap-add, reading, writing, pipes."""
