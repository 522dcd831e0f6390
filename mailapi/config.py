"""The configuration: one TOML file, each key also as `MAILAPI_SECTION__KEY`, which wins.

    config = load(Path("/etc/mailapi/config.toml"))
    config.server.port

What is loaded is complete and checked (`settings`). Otherwise `ConfigError` is raised, which names
each key at fault and says what it must be; it never holds a value, nor other text of the file.
Lists come from the environment as JSON. `config.example.toml` documents each key; a test holds
the two together.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from . import resources, settings
from .errors import ConfigError

DEFAULT_PATH = Path("/etc/mailapi/config.toml")
PREFIX = "MAILAPI_"


class Config(BaseSettings):
    """Built by `load` and `dev`; what is given to the constructor yields to the environment."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        hide_input_in_errors=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
    )

    server: settings.Server = Field(default_factory=settings.Server)
    state: settings.State = Field(default_factory=settings.State)
    rate_limit: settings.RateLimit = Field(default_factory=settings.RateLimit)
    passwords: settings.Passwords = Field(default_factory=settings.Passwords)
    postfix: settings.Postfix = Field(default_factory=settings.Postfix)
    dovecot: settings.Dovecot = Field(default_factory=settings.Dovecot)
    reload: settings.Reload = Field(default_factory=settings.Reload)
    sync: settings.Sync = Field(default_factory=settings.Sync)
    log: settings.Log = Field(default_factory=settings.Log)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before the file; no .env files, no directories of secrets."""
        return env_settings, init_settings


def load(path: Path | None) -> Config:
    """The configuration of `path`, or of /etc/mailapi/config.toml. Raise `ConfigError`."""
    file = path or DEFAULT_PATH
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = "" if path else ", or try the service without one: mailapi serve --dev"
        raise ConfigError(
            f"There is no {file}; begin with the output of mailapi config example{hint}."
        ) from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8 text.") from None
    except tomllib.TOMLDecodeError as error:
        where = re.search(r" \(at [^()]*\)$", str(error))
        raise ConfigError(f"{file} is not TOML{where[0] if where else ''}.") from None
    return _build(data)


def dev(directory: Path) -> Config:
    """For `serve --dev`: all that is written under `directory`, no mail server. `ConfigError`."""
    root = directory.expanduser().absolute()
    return _build(
        {
            "state": {"directory": root / "state"},
            "postfix": {"directory": root / "postfix"},
            "dovecot": {
                "directory": root / "dovecot",
                "userdb_socket": "",
                "look_interval": 0,
            },
            "sync": {"key_file": root / "secrets" / "keys"},
        }
    )


def example() -> str:
    """The text of config.example.toml: every key with its default and what it means."""
    return resources.path("config.example.toml").read_text(encoding="utf-8")


def show(config: Config) -> str:
    """The effective values as TOML that `load` reads again."""
    sections = []
    for name, section in config:
        lines = [f"{key} = {_toml(value)}" for key, value in section]
        sections.append("\n".join([f"[{name}]", *lines]) + "\n")
    return "\n".join(sections)


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int):
        return json.dumps(value)
    # a JSON string is a TOML string, but for DEL
    text = "" if value is None else str(value)
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _build(data: dict[str, Any]) -> Config:
    problems = _foreign_variables()
    try:
        config = Config(**data)
    except ValidationError as error:
        problems += [_problem(e) for e in error.errors(include_input=False, include_url=False)]
    except SettingsError:
        problems += _not_json()
    if problems:
        raise ConfigError("; ".join(problems) + ".")
    return config


WORDS = {  # pydantic's words -> ours
    r"^Value error, ": "",
    r"^(Input|String) should ": "must ",
    r"be a valid tuple": "be an array",
    r"be a valid dictionary.*": "be a table",
    r"match pattern.*": "be a host name or an IP address",
}


def _problem(error: Any) -> str:
    """One of pydantic's errors in our words: the key and what it must be, never the value."""
    section, *key = (str(part) for part in error["loc"])
    name = f"[{section}] {key[0]}" if key else f"[{section}]"
    if error["type"] == "extra_forbidden":
        known = Config.model_fields[section].annotation if key else Config
        return _unknown(name, key[0] if key else section, getattr(known, "model_fields", ()))
    msg = error["msg"]
    for theirs, ours in WORDS.items():
        msg = re.sub(theirs, ours, msg)
    return f"{name} {msg}"


def _unknown(name: str, word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"{name} is unknown" + (f" (did you mean {close[0]}?)" if close else "")


def _variables() -> list[tuple[str, str, str]]:
    """The environment's MAILAPI_ variables: the name, section and key; the key may be empty."""
    found = []
    for variable in sorted(os.environ):
        if variable.upper().startswith(PREFIX):
            section, _, key = variable[len(PREFIX) :].lower().partition("__")
            found.append((variable, section, key))
    return found


def _foreign_variables() -> list[str]:
    """Variables of a section that is unknown; unknown keys of a section are pydantic's work."""
    sections = Config.model_fields
    return [
        _unknown(f"the section of the variable {variable}", section, sections)
        for variable, section, key in _variables()
        if key and section not in sections
    ]


def _not_json() -> list[str]:
    """The variables that had to be JSON, and are not: lists, and whole sections."""
    problems = []
    for variable, section, key in _variables():
        field = getattr(Config.model_fields.get(section), "annotation", None)
        value = None if field is None or not key else field.model_fields.get(key)
        if field is None or (value and not isinstance(value.default, tuple)):
            continue
        with contextlib.suppress(ValueError):
            json.loads(os.environ[variable])
            continue
        problems.append(f"the variable {variable} must be JSON")
    return problems
