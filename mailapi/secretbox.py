"""Passwords of remote servers, encrypted with keys that are outside the database.

    box = Secretbox(Path("/var/lib/mailapi-secrets/keys"))
    token = box.seal("pa55")        # text for the database
    box.open(token)                 # "pa55"

The file holds Fernet keys (github.com/fernet/spec), one a line: the first one seals, all open. It
is made with a new key, mode 0600, when something is sealed for the first time. systemd's credential
`mailapi-secrets` (systemd.exec(5), LoadCredential=) goes before it. The file is read for each use,
so another process may change it meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import files
from .errors import PublishFailed, StateError

if TYPE_CHECKING:  # where nothing is sealed, 3 MB are saved
    from cryptography.fernet import MultiFernet

CREDENTIAL: Final = "mailapi-secrets"
KEPT: Final = 2  # keys after a rotation: what was sealed while it went on can still be opened


class Secretbox:
    """`file` need not exist yet; its directory neither."""

    def __init__(self, file: Path) -> None:
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        given = Path(directory) / CREDENTIAL if directory else None
        self.given = given is not None and given.exists()
        self._file = given if given is not None and self.given else file

    def seal(self, text: str) -> str:
        """Raise `StateError` where the keys cannot be read or made."""
        return self._fernet().encrypt(text.encode()).decode()

    def open(self, token: str) -> str | None:
        """The text; None if none of the keys sealed it. Raise `StateError`."""
        return _opened(self._fernet().decrypt, token)

    def begin_rotation(self) -> None:
        """A new key in front; a credential must have got one already. Raise `StateError`."""
        if not self.given:
            self._write([_new_key(), *self._keys()])

    def end_rotation(self) -> None:
        """Everything is sealed with the first key: drop the old ones, but the last."""
        if not self.given:
            self._write(self._keys()[:KEPT])

    def renew(self, token: str) -> str | None:
        """The same text sealed with the first key; None if no key opens it."""
        return _opened(self._fernet().rotate, token)

    def _fernet(self) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet

        try:
            return MultiFernet([Fernet(key) for key in self._keys()])
        except ValueError:
            raise StateError(
                "The file of the secrets' keys holds something else; put the right one back."
            ) from None

    def _keys(self) -> list[str]:
        try:
            if not self._file.exists():
                self._write([_new_key()])
            return self._file.read_text(encoding="ascii").split()
        except (OSError, UnicodeDecodeError) as error:
            raise StateError(
                "The file of the secrets' keys cannot be read; run this as the service's user."
            ) from error

    def _write(self, keys: list[str]) -> None:
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.write(self._file, "\n".join([*keys, ""]).encode(), mode=0o600)
        except (OSError, PublishFailed) as error:
            raise StateError(
                "The file of the secrets' keys cannot be written; see [sync] key_file."
            ) from error


def _opened(method: Callable[[bytes], bytes], token: str) -> str | None:
    from cryptography.fernet import InvalidToken

    try:
        return method(token.encode()).decode()
    except InvalidToken:
        return None


def _new_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()
