"""Reads a TOML file into a validated type, and turns every fault of the file into a line that a person can act on."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic_core import ErrorDetails

from .errors import ConfigError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)
#: pydantic's kinds of faults -> what a file should hold, in the file's own words.
EXPECTED = {
    "dict_type": "a table", "model_type": "a table", "model_attributes_type": "a table", "list_type": "a list",
    "tuple_type": "a list",
}  # fmt: skip
#: The sizes that an exact number may have.
LEAST, MOST = Decimal("1e-12"), Decimal("1e15")


def exact(value: Any) -> Decimal:
    """A number, or a string of digits, as the decimal that was written. Raises ValueError for anything else.

    Nothing that one counts, prices or measures lies beyond 1e15 or, other than 0, within 1e-12 of 0; such a number is
    a slip, and arithmetic with it ends in infinities.
    """
    try:
        number = Decimal("nan") if isinstance(value, bool) else Decimal(str(value))
    except ArithmeticError:
        number = Decimal("nan")
    if not number.is_finite():
        raise ValueError("expected a number")
    if number and not LEAST <= abs(number) <= MOST:
        raise ValueError(f"expected a number, 0 or between {LEAST:e} and {MOST:e} in size")
    return number


#: A field for money and what is multiplied with it.
Exact = Annotated[Decimal, BeforeValidator(exact)]


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file. Raises ConfigError with the line and column of a syntax error."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def validate(model: type[Model], content: Mapping[str, Any], source: str) -> Model:
    """`content` as a `model`. Raises one ConfigError that holds a line for every fault; `source` starts each line."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = dict[tuple[str, str], str]()
        faults = error.errors(include_url=False)
        for fault in faults:
            at = len(fault["loc"])
            if fault["type"] == "too_short" and any(f["loc"][:at] == fault["loc"] != f["loc"] for f in faults):
                continue  # for its faulty items do not count
            place, owner, key = _place(fault["loc"], model)
            text = _fault(fault, owner, key)
            if (place, key) in lines:  # another alternative of the same key: a number, or a list
                text = f"{lines[place, key]} or {text.rpartition('expected ')[2]}"
            lines[place, key] = text
        raise ConfigError([f"{source}: {p}{': ' if p else ''}{text}" for (p, _), text in lines.items()]) from None


def _fault(fault: ErrorDetails, owner: type[BaseModel] | None, key: str) -> str:
    """One fault as `unknown key 'temprature'; did you mean 'temperature'?`."""
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        fields = [f.alias or name for name, f in owner.model_fields.items()] if owner else []
        return f"unknown key '{key}'{did_you_mean(key, fields)}"
    if kind == "missing" and isinstance(fault["loc"][-1], int):  # of a row of values the last
        return f"key '{key}': found {_short(fault['input'])}, expected {fault['loc'][-1] + 1} values"
    if kind == "missing":
        return f"key '{key}' is missing"
    if kind == "union_tag_invalid":
        possible = context["expected_tags"].replace("'", "").split(", ")
        return f"unknown step '{context['tag']}'{did_you_mean(context['tag'], possible)}"
    if kind == "union_tag_not_found":
        return "key 'step' is missing"
    message = EXPECTED.get(kind) or fault["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if not key and kind == "value_error":  # of several keys together
        return message
    message = message.rpartition(" should have ")[2].partition(" after validation")[0]
    expected = message if kind == "value_error" else f"expected {message}"
    where = f"key '{key}': " if key else ""  # else the place is the key: an item of a list
    return f"{where}found {_short(fault['input'])}, {expected}"


def _place(loc: tuple[str | int, ...], model: type[BaseModel]) -> tuple[str, type[BaseModel] | None, str]:
    """Where a fault lies in words, the model that owns the key, and the key itself."""
    owner: type[BaseModel] | None = model
    words: list[str] = []
    parts = [part for part in loc if part != "[key]"]  # pydantic's word for a fault of a mapping's key itself
    while len(parts) > 1 and owner is not None:
        name = str(parts.pop(0))
        annotation = next((f.annotation for n, f in owner.model_fields.items() if name in (n, f.alias)), None)
        members = _models(annotation)
        if not members:
            return " ".join(words), owner, name
        number = f" {int(parts.pop(0)) + 1}" if parts and isinstance(parts[0], int) else ""
        if get_origin(annotation) is dict and len(parts) > 1:
            number = f" {parts.pop(0)}"
        tag = f" ({parts.pop(0)})" if parts and len(members) > 1 and parts[0] in _tags(members) else ""
        words.append(f"{name}{number}{tag}")
        owner = members[0] if len(members) == 1 else _tags(members).get(tag.strip(" ()"))
    return " ".join(words), owner, str(parts[0]) if parts else ""


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models that an annotation can hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, tuple, list) or get_args(annotation):
        return [m for argument in get_args(annotation) for m in _models(argument)]
    return []


def _tags(models: list[type[BaseModel]]) -> dict[str, type[BaseModel]]:
    return {str(m.model_fields["step"].default): m for m in models if "step" in m.model_fields}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
