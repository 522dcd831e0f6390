"""What the runner reports, judged one by one: what does not fit hides nothing else.

Remote servers have a say in the numbers, names and texts. They are mended where that is possible:
a number is brought into its range, a text is cut. A look at a remote side that does not fit has
failed. What does not say which run or look it is about is left out, and logged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import structlog
from pydantic import Field

from .errors import Invalid, Malformed
from .models import Model, parse
from .rules.syncruns import Ended
from .syncmodels import RemoteFolder

MOST: Final = 10**15
INTERNAL: Final = "internal"
_WORD: Final = r"[a-z_]{1,40}"
_log = structlog.get_logger("mailapi.sync")

Number = Annotated[int, Field(ge=0, le=MOST)]


class _Failed(Model):
    code: Annotated[str, Field(pattern=f"^{_WORD}$")]
    field: Literal["host1", "port1", "enc1", "user1", "password1"]
    reason: Annotated[str, Field(max_length=500)]


class _Found(Model):
    folders: Annotated[list[RemoteFolder], Field(max_length=10_000)]
    messages: Number
    bytes: Number | None


def value(raw: bytes) -> Any:
    """The JSON, with whatever numbers; halves of surrogate pairs become ?. Raise `Malformed`."""
    try:
        found = json.loads(raw, parse_int=_integer)
        if b"\\u" in raw:
            found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
        return found
    except (ValueError, RecursionError):
        raise Malformed from None


def running(entries: Iterable[Any]) -> list[dict[str, Any]]:
    """Each with `run`, `messages`, `bytes`, `folder` and `share`."""
    return [
        {
            "run": run,
            "messages": _number(one.get("messages")),
            "bytes": _number(one.get("bytes")),
            "folder": None if one.get("folder") is None else _text(one["folder"], 1000),
            "share": _share(one.get("share")),
        }
        for run, one in _named(entries, "run")
    ]


def ended(entries: Iterable[Any]) -> list[Ended]:
    """A result that is no word is `internal`."""
    found = []
    for run, one in _named(entries, "run"):
        word = one.get("result")
        result = word if isinstance(word, str) and re.fullmatch(_WORD, word) else INTERNAL
        counts = _number(one.get("messages")), _number(one.get("bytes"))
        found.append(Ended(run, result, *counts, _text(one.get("output"), 4000)))
    return found


def tested(entries: Iterable[Any]) -> list[tuple[int, Mapping[str, Any]]]:
    """The number of each look, and its answer."""
    return [(number, _answer(one)) for number, one in _named(entries, "number")]


def _answer(one: Mapping[str, Any]) -> Mapping[str, Any]:
    fields = {name: value for name, value in one.items() if name != "number"}
    try:
        return parse(_Failed if "reason" in fields else _Found, fields)
    except Invalid as error:
        _log.warning("a look at a remote side cannot be shown", fields=_faults(error))
        return {"code": INTERNAL, "field": "host1", "reason": "answers what cannot be shown"}


def _named(entries: Iterable[Any], name: str) -> Iterable[tuple[int, dict[str, Any]]]:
    """The entries that say what they are about, with that number."""
    for one in entries:
        number = one.get(name) if isinstance(one, dict) else None
        if type(number) is int and 0 <= number <= MOST:
            yield number, one
        else:
            _log.warning("the runner reports something of nothing", name=name)


def _number(given: Any) -> int:
    return min(MOST, max(0, given)) if type(given) is int else 0


def _share(given: Any) -> float:
    """0 where it is no number, or NaN."""
    fits = isinstance(given, int | float) and 0 <= given <= 1
    return float(given) if fits else 0.0


def _text(given: Any, most: int) -> str:
    """Its last characters."""
    return str(given or "")[-most:]


def _integer(text: str) -> int:
    return int(text) if len(text) <= 20 else MOST + 1


def _faults(error: Invalid) -> Sequence[str]:
    return [fault.field for fault in error.fields][:5]
