"""What clients may send for sync jobs, and what they are shown; as in `models`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .fields import (
    Address,
    Folder,
    HostName,
    Interval,
    LogIn,
    MaxAge,
    Patterns,
    Port,
    RemotePassword,
)
from .models import TIMES, Model, read_only, update


class SyncJobAdd(Model):
    """`port1` is 993 for SSL and 143 for the others, unless it is given."""

    username: Address
    host1: HostName
    port1: Port | None = None
    user1: LogIn
    password1: RemotePassword
    enc1: Literal["SSL", "TLS", "PLAIN"] = "SSL"
    mins_interval: Interval = 20
    subfolder2: Folder = ""
    maxage: MaxAge = 0
    exclude: Patterns = Field(default_factory=list)
    delete2: bool = False
    active: bool = True


SyncJobUpdate = update(
    SyncJobAdd,
    "SyncJobUpdate",
    port1=Port,
    **read_only("id", "is_running", "last_run", "success", "exit_status", "next_run"),
    **read_only("messages", "bytes", "folder", "share", *TIMES),
)


class SyncJob(Model):
    """A sync job as GET shows it; never its password.

    `messages` and `bytes` are what the run under way has copied, or else the last one; `folder` is
    where it is, and `share` how much of its work is done, 0 to 1. `next_run` null: not by itself,
    or it runs.
    """

    id: int
    username: str
    host1: str
    port1: int
    user1: str
    enc1: str
    mins_interval: int
    subfolder2: str
    maxage: int
    exclude: list[str]
    delete2: bool
    active: bool
    is_running: bool
    last_run: str | None
    success: bool | None
    exit_status: str | None
    next_run: str | None
    messages: int
    bytes: int
    folder: str | None
    share: float | None
    created: str
    modified: str


class Run(Model):
    """A run of a sync job; `output` is the last that the engine said."""

    id: int
    job: int
    started: str
    ended: str | None
    result: str | None
    messages: int
    bytes: int
    output: str


class RemoteFolder(Model):
    """A folder of the remote side; `bytes` null where it does not tell."""

    name: str
    messages: int
    bytes: int | None
    excluded: bool
