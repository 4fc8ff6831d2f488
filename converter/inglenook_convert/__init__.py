"""Converts gpt-oss checkpoints (safetensors) to GGUF."""
