"""Texts to token ids, by the bundle's own tokenizer.json."""

from __future__ import annotations

from pathlib import Path

from .errors import OnDeviceError


class Tokenizer:
    """Cuts texts into at most `max_tokens` tokens; `truncated` counts the texts that lost their end."""

    def __init__(self, path: Path, max_tokens: int) -> None:
        try:
            from tokenizers import Tokenizer as Native
        except ImportError:
            raise OnDeviceError(
                "needs tokenizers, which is not installed: pip install --no-deps -r requirements.txt"
            ) from None
        if not path.is_file():
            raise OnDeviceError(f"{path}: missing; copy the bundle again")
        try:
            self._native = Native.from_file(str(path))
        except Exception as error:  # noqa: BLE001 (the library has no class of its own)
            raise OnDeviceError(f"{path}: cannot be read: {error}; copy the bundle again") from None
        # The file may carry the limits of its training; the bundle's own are others.
        self._native.no_padding()
        self._native.no_truncation()
        self._native.enable_truncation(max_tokens)
        self._max_tokens = max_tokens
        self.truncated = 0

    def encode(self, text: str) -> list[int]:
        """The token ids of a text, special tokens included; never none, because attention needs one to read."""
        encoding = self._native.encode(text)
        ids: list[int] = encoding.ids
        if len(ids) == self._max_tokens and encoding.overflowing:
            self.truncated += 1
        return ids or [0]
