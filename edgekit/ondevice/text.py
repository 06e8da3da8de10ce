"""Texts to token ids, by the bundle's own tokenizer.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import OnDeviceError
from .manifest import Manifest, need


class Tokenizer:
    """Cuts texts into at most `max_tokens` tokens; `truncated` counts the texts that lost their end."""

    def __init__(self, path: Path, max_tokens: int) -> None:
        self.native = load_native(path)
        # The file may carry the limits of its training; the bundle's own are others.
        self.native.no_padding()
        self.native.no_truncation()
        self.native.enable_truncation(max_tokens)
        self._max_tokens = max_tokens
        self.truncated = 0

    def encode(self, text: str, second: str | None = None) -> list[int]:
        """The token ids of a text or of a pair, special tokens included; never none: attention needs one to read.

        Of a pair the longer text is cut first.
        """
        encoding = self.native.encode(text, second)
        ids: list[int] = encoding.ids
        if len(ids) == self._max_tokens and encoding.overflowing:
            self.truncated += 1
        return ids or [0]


def load_native(path: Path) -> Any:
    """The `tokenizers.Tokenizer` of a file. Raises OnDeviceError."""
    try:
        from tokenizers import Tokenizer as Native
    except ImportError:
        raise OnDeviceError(
            "needs tokenizers, which is not installed: pip install --no-deps -r requirements.txt"
        ) from None
    if not path.is_file():
        raise OnDeviceError(f"{path}: missing; copy the bundle again")
    try:
        return Native.from_file(str(path))
    except Exception as error:  # noqa: BLE001 (the library has no class of its own)
        raise OnDeviceError(f"{path}: cannot be read: {error}; copy the bundle again") from None


class Texts:
    """What tasks of whole texts have in common: a text, or a pair where the manifest says so, is one feed of tokens."""

    def __init__(self, bundle: Path, manifest: Manifest) -> None:
        need(manifest, {"labels": list, "buckets": list, "tokenizer": str}, bundle)
        self.labels: list[str] = manifest["labels"]
        self._pairs = bool(manifest.get("pairs"))
        self._tokenizer = Tokenizer(bundle / manifest["tokenizer"], manifest["buckets"][-1])

    @property
    def truncated(self) -> int:
        """How many texts so far were longer than the last bucket and lost their end."""
        return self._tokenizer.truncated

    def parse(self, given: Any) -> Any:
        """A text; of pairs a list of two. Raises OnDeviceError."""
        if not self._pairs:
            return check_text(given)
        if not isinstance(given, list) or len(given) != 2:
            found = f"a list of {len(given)}" if isinstance(given, list) else kind(given)
            raise OnDeviceError(f"found {found}, expected a pair: a list of two strings")
        return [check_text(one) for one in given]

    def parse_word(self, word: str) -> Any:
        """The text itself; a pair is two texts with a tab between them, or a JSON list. Raises OnDeviceError."""
        if not self._pairs:
            return check_text(word)
        texts = word.split("\t")
        if len(texts) == 1 and word.startswith("["):
            with suppress(ValueError, RecursionError):
                texts = json.loads(word)
        if len(texts) != 2:
            raise OnDeviceError(
                f'{word!r:.60}: found {len(texts)}, expected two texts with a tab between them, or ["one", "other"]'
            )
        return self.parse(texts)

    def gathered(self, sample: Any, feeds: Sequence[Any], outputs: Sequence[Any]) -> Sequence[Any]:
        """The outputs as they are: there is one."""
        return outputs

    def feeds(self, sample: Any) -> list[Any]:
        """The token ids, at most as many as the last bucket."""
        return [self._tokenizer.encode(*sample) if self._pairs else self._tokenizer.encode(sample)]


def check_text(given: Any, expected: str = "a string") -> str:
    """The text. Raises OnDeviceError where it is none, or no text that a tokenizer can read."""
    if not isinstance(given, str):
        raise OnDeviceError(f"found {kind(given)}, expected {expected}")
    try:
        given.encode("utf-8")
    except UnicodeEncodeError:
        raise OnDeviceError("has half of a surrogate pair, or bytes that are not UTF-8") from None
    return given


_KINDS = {str: "a string", bool: "true or false", list: "a list", dict: "an object", type(None): "null"}


def kind(value: object) -> str:
    """What a JSON value is, in words."""
    return _KINDS.get(type(value), "a number")
