"""Rows -> lines of text, through the templates. No I/O but reading the templates once.

One template a file; it gets `rows` and makes exactly one line of each, beginning with the row's
key. Only tokens in normal form reach a template: anything else is a fault of ours and raises
`Unrenderable`, before a byte is written. So no value can add a line, a field or a key of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from . import resources
from .addresses import is_normal_token
from .entries import FILES, File, Row
from .errors import Unrenderable

# Names of ours are in lower case, as Postfix looks for them, and never begin a comment.
KEY = re.compile(r"[a-z0-9@._'+-]{1,320}")
# {SCHEME} and the characters of crypt(3) and base64: neither a colon nor a blank.
HASH = re.compile(r"\{[A-Z0-9-]{1,20}\}[A-Za-z0-9./+=$,]{1,300}")


class Renderer:
    """Raise `jinja2.TemplateError` at the start where a template is missing or wrong."""

    def __init__(self) -> None:
        environment = Environment(
            loader=FileSystemLoader(resources.path("templates")),
            undefined=StrictUndefined,
            autoescape=False,  # noqa: S701 - no HTML: configuration files, of checked tokens
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._templates = {
            file.name: environment.get_template(f"{file.server}/{file.name}.j2") for file in FILES
        }

    def lines(self, file: File, rows: list[Row]) -> list[bytes]:
        """One line, with its newline, for each row. Raise `Unrenderable`."""
        if not rows:
            return []
        for row in rows:
            if not KEY.fullmatch(row[0]):
                raise Unrenderable("A key that is not in normal form reached a template.")
            _check(row[1:])
        try:
            text = self._templates[file.name].render(rows=rows)
        except TemplateError as error:
            raise Unrenderable(f"The template of {file.name} failed.") from error
        lines = text.encode("ascii").splitlines(keepends=True)
        keys = [file.key(row[0]) + file.separator for row in rows]
        if len(lines) != len(rows) or not all(map(bytes.startswith, lines, keys)):
            raise Unrenderable(f"The template of {file.name} does not make one line of each row.")
        return lines


def _check(values: Iterable[object]) -> None:
    for value in values:
        if isinstance(value, str):
            if not is_normal_token(value) and not HASH.fullmatch(value):
                raise Unrenderable("A value that is not in normal form reached a template.")
        elif isinstance(value, tuple) and value:
            _check(value)
        elif type(value) is not int:
            raise Unrenderable("A value of another type, or no value, reached a template.")
