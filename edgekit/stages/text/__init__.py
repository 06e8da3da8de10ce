"""From texts to token ids: tokenizers, splits, windows, vocabularies, and more texts to learn from."""
