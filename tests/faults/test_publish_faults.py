"""The files cannot be written for a while: nothing is lost or claimed, and it mends itself.

While the fault lasts, changes are stored and answered 202 with a reason, /readyz is 503 and /status
shows the problem. When it has gone, all of it becomes live without anybody's help.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import oracle
import pytest
import restapi
from mishap import Fault
from process import Service, lmdb_entries

Mending = Callable[[], object]
Mount = Callable[[Path, str], None]


def prepare(service: Service, fault: Fault | None = None) -> None:
    """A running service with a mailbox."""
    service.start(fault=fault)
    service.must("POST", "/domains", restapi.domain())
    service.must("POST", "/mailboxes", restapi.mailbox("ann@example.com"))


def add(service: Service, local_part: str, **headers: str) -> tuple[int, Any]:
    body = restapi.mailbox(f"{local_part}@example.com")
    return service.ask("POST", "/mailboxes", body, **headers)


def stands_it(service: Service, mend: Mending, code: str = "publish_failed") -> None:
    """The whole of this module's claim, from the fault, which is there, to after its end."""
    status, answer = add(service, "bob")
    assert (status, answer["type"], answer["applied"]) == (202, "success", False), answer
    assert "It is stored" in answer["detail"]
    assert str(service.root) not in answer["detail"]
    generation = answer["generation"]
    assert add(service, "eve", Prefer="respond-async")[0] == 202
    assert service.ask("GET", "/readyz")[0] == 503
    shown = service.must("GET", f"/status?generation={generation}&wait=0")
    assert (shown["applied"], shown["problem"]["code"]) == (False, code)
    assert shown["applied_generation"] < generation
    assert service.must("GET", "/mailboxes/bob@example.com")["email"] == "bob@example.com"
    mend()
    shown = service.must("GET", f"/status?generation={generation}&wait=10")
    assert shown["applied"], shown
    service.agrees(5)
    assert add(service, "after")[0] == 201
    service.agrees(2)
    assert "problem" not in service.must("GET", "/status")


def fill(directory: Path) -> Mending:
    """Fill the file system up; the way back."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as stream:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while stream.write(bytes(size)):
                    pass
    assert not os.statvfs(directory).f_bavail
    return filler.unlink


@pytest.mark.parametrize("server", ["dovecot", "postfix"])
def test_the_disk_of_the_files_is_full(service: Service, mount: Mount, server: str) -> None:
    """A full disk under either server's files stops nothing but the files."""
    mount(service.root / server, "2m")
    prepare(service)
    stands_it(service, fill(service.root / server))


@pytest.mark.parametrize("server", ["dovecot", "postfix"])
def test_the_directory_is_read_only(service: Service, mount: Mount, server: str) -> None:
    """A file system that turned read-only is tried again until it can be written."""
    mount(service.root / server, "2m")
    prepare(service)
    directory = str(service.root / server)
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", directory], check=True)
    stands_it(service, lambda: subprocess.run(["umount", directory], check=True))


@pytest.mark.parametrize("server", ["dovecot", "postfix"])
def test_the_directory_cannot_be_made_at_the_start(service: Service, server: str) -> None:
    """A start without the directory serves, and makes it as soon as that is possible."""
    service.root.mkdir()
    (service.root / server).write_text("in the way")
    service.start()
    assert service.ask("POST", "/domains", restapi.domain())[0] == 202
    stands_it(service, (service.root / server).unlink)


@pytest.mark.parametrize("call", ["rename", "fsync"])
def test_an_input_output_error(service: Service, call: str) -> None:
    """A disk that fails at a rename or a sync is tried again."""
    armed = service.root / "armed"
    prepare(service, Fault(f"os:{call}", armed, errno=errno.EIO))
    armed.touch()
    stands_it(service, armed.unlink)


@pytest.mark.parametrize("name", oracle.MAPS[:2])
@pytest.mark.parametrize("how", ["deleted", "replaced", "emptied", "garbage"])
def test_a_map_is_spoilt_behind_our_back(service: Service, name: str, how: str) -> None:
    """The next change that needs the map makes it whole again; no answer claims more than is so."""
    prepare(service)
    file = service.postfix / f"{name}.lmdb"
    if how == "deleted":
        file.unlink()
    else:
        other = file.with_name("other")
        other.write_bytes(
            {"replaced": file.read_bytes()[:6000], "emptied": b""}.get(how, b"x" * 9999)
        )
        other.rename(file)
    body = restapi.domain("next.example")
    generation = service.stored("POST", "/domains", body)
    generation = max(
        generation, service.stored("POST", "/mailboxes", restapi.mailbox("bob@next.example"))
    )
    assert service.must("GET", f"/status?generation={generation}&wait=10")["applied"]
    service.agrees(2)


@pytest.mark.parametrize("server", ["dovecot", "postfix"])
def test_the_directory_is_removed(service: Service, server: str) -> None:
    """With the next change all its files are there again, not only those that it touches."""
    prepare(service)
    shutil.rmtree(service.root / server)
    generation = service.stored("POST", "/mailboxes", restapi.mailbox("bob@example.com"))
    assert service.must("GET", f"/status?generation={generation}&wait=10")["applied"]
    service.agrees(2)


def test_apply_mends_what_no_change_touches(service: Service) -> None:
    """POST /apply looks at every file, whatever happened to it."""
    prepare(service)
    (service.dovecot / "users").unlink()
    (service.postfix / "relay_domains").write_text("evil.example OK\n")
    (service.postfix / "virtual_mailbox_domains.lmdb").unlink()
    (service.postfix / "smtpd_renew.lmdb").unlink()
    assert service.must("POST", "/apply", {})["applied"]
    service.agrees(0.5)
    assert lmdb_entries(service.postfix / "smtpd_renew") == {}


@contextlib.contextmanager
def locked(file: Path) -> Iterator[Mending]:
    """Another process holds Postfix's lock on the file; the way to end that."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(file), ready, done), daemon=True)
    other.start()
    assert ready.wait(20)
    yield done.set
    done.set()
    other.join()


def _hold(file: str, ready: Any, done: Any) -> None:
    with Path(file).open("r+b") as stream:
        fcntl.lockf(stream, fcntl.LOCK_EX)
        ready.set()
        done.wait()


def test_another_program_keeps_the_lock_of_a_map(service: Service) -> None:
    """A lock that is not given back is waited for, reported, and tried again."""
    prepare(service, Fault(limits={"mailapi.lmdbmap:LOCK_LIMIT": 0.3}))
    with locked(service.postfix / "virtual_mailbox_maps.lmdb") as end:
        stands_it(service, end)


async def test_a_retry_is_not_lost_among_refused_changes(service: Service) -> None:
    """Requests that are refused while a fault lasts do not stop the attempts to mend it."""
    armed = service.root / "armed"
    limits = {"mailapi.rounds:PAUSES": (0.02, 0.02)}
    prepare(service, Fault("os:rename", armed, errno=errno.EIO, limits=limits))
    armed.touch()
    assert add(service, "bob")[0] == 202
    async with service.session() as session, asyncio.TaskGroup() as group:
        tasks = [group.create_task(refused(session)) for _ in range(8)]
        await asyncio.sleep(0.3)
        armed.unlink()
        async with session.get("status?generation=3&wait=5") as answer:
            assert (await answer.json())["applied"]
        for task in tasks:
            task.cancel()
    service.agrees(2)


async def refused(session: aiohttp.ClientSession) -> None:
    """One refused change after the other."""
    while True:
        async with session.post("mailboxes", json=restapi.mailbox("ann@example.com")) as answer:
            assert answer.status == 409


def test_a_map_is_cut_off_in_place(service: Service) -> None:
    """A map that somebody truncates while it is open is written anew, and the service lives on."""
    prepare(service)
    os.truncate(service.postfix / "virtual_mailbox_maps.lmdb", 0)
    generation = service.stored("POST", "/mailboxes", restapi.mailbox("bob@example.com"))
    assert service.must("GET", f"/status?generation={generation}&wait=10")["applied"]
    service.agrees(2)
