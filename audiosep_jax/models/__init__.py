"""Flax Linen modules: FiLM, the ResUNet, and the separator from waveform to waveform."""
