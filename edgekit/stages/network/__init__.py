"""The text encoder in plain PyTorch, and the ways to make it smaller."""
