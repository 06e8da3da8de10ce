"""What students learn from, and how: the losses, and the one training loop of the PyTorch lane."""
