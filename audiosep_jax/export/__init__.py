"""Models for serving without this project: StableHLO, ONNX, safetensors, their manifest and check."""
