"""Keys, straight in the database of this host: for the first one, and for who has lost them all.

Works beside a running service, which sees a new key at once and a removed one within a second. As
root, new files get the owner of the state directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import models, objects, schema, whole
from .caller import Caller
from .config import Config
from .database import WRITER
from .entries import FILES
from .errors import ConfigError, StateError
from .objects import KEY
from .render import Renderer
from .rules import keys as rules
from .rules import syncjobs
from .secretbox import Secretbox
from .txn import Result, Txn

LOCAL = Caller("local", "local administrator", "admin")


def keys(config: Config) -> list[dict[str, Any]]:
    """All keys as GET shows them. Raise `ConfigError`, `StateError`, as all functions here do."""
    with _database(config) as db:
        rows = objects.page(db, KEY, objects.Query(), None, 100_000)
    return [json.loads(text) for _, text in rows]


def add_key(config: Config, fields: dict[str, Any]) -> str:
    """The new key. Raise `Invalid`."""
    parsed = models.parse(models.KeyAdd, fields)
    return _change(config, lambda txn: rules.add(txn, parsed)).secret or ""


def remove_key(config: Config, key_id: int) -> None:
    """Raise `NotFound`."""
    _change(config, lambda txn: rules.remove(txn, key_id))


def rotate_secrets(config: Config) -> tuple[int, str]:
    """Seal the passwords of sync jobs with a new key; how many, and the jobs that no key opens.

    Killed at any point, the file of keys opens all that it opened before.
    """
    box = Secretbox(config.sync.key_file)
    with _database(config) as db:
        db.execute("BEGIN IMMEDIATE")
        box.begin_rotation()
        rows = db.execute("SELECT id, secret FROM sync_job ORDER BY id").fetchall()
        renewed = {id_: box.renew(secret) for id_, secret in rows}
        syncjobs.reseal(db, {id_: secret for id_, secret in renewed.items() if secret})
        db.execute("COMMIT")
    lost = [str(id_) for id_, secret in renewed.items() if secret is None]
    if not lost:
        box.end_rotation()
    return len(renewed) - len(lost), ", ".join(lost)


def rendered(config: Config) -> dict[str, bytes]:
    """What the files hold, by `server/name`; reads the database and changes nothing."""
    path = config.state.directory / "mailapi.db"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            db.execute("BEGIN")  # one state for all the reads
            texts = whole.whole(db, Renderer())
    except sqlite3.Error as error:
        raise StateError("There is no database that can be read; serve once.") from error
    return {f"{file.server}/{file.name}": texts[file.name] for file in FILES}


def _change(config: Config, rule: Callable[[Txn], Result]) -> Result:
    with _database(config) as db:
        db.execute("BEGIN IMMEDIATE")
        (generation,) = db.execute("SELECT generation FROM state").fetchone()
        try:
            result = rule(Txn(db, LOCAL, "local", generation))
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
    return result


@contextlib.contextmanager
def _database(config: Config) -> Iterator[sqlite3.Connection]:
    path = config.state.directory / "mailapi.db"
    try:
        config.state.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"[state] directory cannot be made: {error.strerror}.") from error
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.executescript(WRITER)
            schema.migrate(db, path)
            _own(path)
            yield db
    except sqlite3.Error as error:
        raise StateError(
            "The database cannot be used; run this as root or as the service's user."
        ) from error


def _own(path: Path) -> None:
    if os.geteuid() == 0:
        there = path.parent.stat()
        for file in path.parent.glob(f"{path.name}*"):
            os.chown(file, there.st_uid, there.st_gid)
