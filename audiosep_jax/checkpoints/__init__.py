"""Checkpoint folders (safetensors and JSON), and the names of the PyTorch reference."""
