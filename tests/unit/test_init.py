"""`mailapi init` on a host of files alone: what it plans, does, and takes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakehost import AUTH, FakeHost, dies, has_useradd

from mailapi.errors import ConfigError, InitConflict, InitFailed
from mailapi.setup import activate, init, plan, steps
from mailapi.setup.host import ABSENT, Image
from mailapi.setup.journal import HOME, Entry, Journal

needs_root = pytest.mark.skipif(not has_useradd(), reason="needs root, and useradd(8)")
CONFIG = Path("/etc/mailapi/config.toml")
DATA = ("/var/lib/mailapi", "/var/vmail")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """There is no service to deliver to, or to make a key for; tests/host has both."""
    monkeypatch.setattr(init.proof, "deliver", lambda *_: None)
    monkeypatch.setattr(init.proof, "clean", lambda *_: None)
    monkeypatch.setattr(init, "_first_key", lambda *_: None)
    return FakeHost(tmp_path / "host").furnish()


def apply(host: FakeHost) -> list[str]:
    said: list[str] = []
    init.apply(host, host.plan(), [], said.append)
    return said


def undo(host: FakeHost, force: bool = False, purge: bool = False) -> list[str]:
    said: list[str] = []
    init.undo(host, force, purge, said.append)
    return said


def test_a_plan_changes_nothing(host):
    """Looking what would be done leaves every file as it is."""
    before = host.tree()
    assert [step.pending(host) for step in host.plan().steps if step.pending(host)]
    assert host.tree() == before
    assert host.ran == []


@needs_root
def test_what_is_made(host):
    """Accounts, directories, configuration, units and program have their owners and modes."""
    apply(host)
    mailapi, vmail = host.uid("mailapi"), host.uid("vmail")
    postfix, dovecot = host.gid("postfix"), host.gid("dovecot")
    expected = {
        "/var/lib/mailapi": (0o700, mailapi, host.gid("mailapi")),
        "/var/lib/mailapi-maps": (0o755, 0, 0),
        "/var/lib/mailapi-maps/postfix": (0o2750, mailapi, postfix),
        "/var/lib/mailapi-maps/dovecot": (0o2750, mailapi, dovecot),
        "/var/vmail": (0o750, vmail, host.gid("vmail")),
        "/etc/mailapi": (0o755, 0, 0),
        "/etc/mailapi/config.toml": (0o644, 0, 0),
        "/usr/local/sbin/mailapi-reload": (0o755, 0, 0),
        "/etc/systemd/system/mailapi.service": (0o644, 0, 0),
        "/etc/dovecot/conf.d/90-mailapi.conf": (0o644, 0, 0),
    }
    for name, owner in expected.items():
        image = host.image(Path(name))
        assert (image.mode, image.uid, image.gid) == owner, name
    assert "#!include auth-system.conf.ext" in host.text(Path(AUTH))
    wanted = host.image(Path("/etc/systemd/system/sockets.target.wants/mailapi-reload.socket"))
    assert wanted.content == "/etc/systemd/system/mailapi-reload.socket"


@needs_root
def test_the_maps_come_before_who_reads_them(host):
    """The service has started before a file of Postfix or Dovecot changes, and they follow it."""
    said = apply(host)
    order = [said.index(what) for what in ("start the service", "change /etc/postfix/main.cf",
                                           "restart Postfix and Dovecot")]  # fmt: skip
    assert order == sorted(order)
    restarts = [line.split()[-1] for line in host.ran if line.startswith("systemctl restart")]
    assert restarts == [
        "mailapi-reload.socket",
        "mailapi.service",
        "postfix",
        "dovecot",
        activate.SYNC,
    ]


@needs_root
def test_again_changes_nothing(host):
    """A second run changes no file, runs no program that would, and says so."""
    apply(host)
    before = host.tree()
    host.ran.clear()
    assert apply(host) == ["This host is set up; nothing was changed."]
    assert host.tree() == before
    assert not [line for line in host.ran if "restart" in line]


@needs_root
def test_undo_to_the_byte(host):
    """Undo leaves every file, owner and mode as before, the older copies of passwd(5) included."""
    before = host.tree()
    apply(host)
    assert host.tree() != before
    undo(host, purge=True)
    assert host.tree() == before
    assert undo(host) == ["There is nothing to undo: mailapi init has changed nothing here."]


@needs_root
def test_undo_keeps_the_state_and_the_mail(host):
    """Without --purge both stay, closed to all but root, and the next run takes them over."""
    apply(host)
    for name in DATA:
        host.real(Path(name, "precious")).write_text("mail")
    said = undo(host)
    for name in DATA:
        assert host.image(Path(name)) == Image("directory", 0o700, 0, 0)
        assert any(line.startswith(f"{name} stays") for line in said)
    apply(host)
    assert host.image(Path(DATA[0], "precious")).uid == host.uid("mailapi")
    assert host.image(Path(DATA[1], "precious")).uid == host.uid("vmail")


@needs_root
def test_undo_removes_what_the_service_rendered(host):
    """The maps go with their directories; what else lies there stays, and is named."""
    apply(host)
    maps = host.real(Path("/var/lib/mailapi-maps/postfix"))
    for name in ("virtual_alias_maps", "virtual_alias_maps.lmdb", ".relay_domains.new"):
        (maps / name).write_text("")
    host.real(Path("/var/lib/mailapi-maps/dovecot/mine")).write_text("")
    said = undo(host)
    assert not maps.exists()
    assert "/var/lib/mailapi-maps/dovecot stays: it holds what is not mailapi's." in said


@needs_root
def test_undo_overwrites_no_change_of_the_administrator(host):
    """What was edited since is named, and nothing at all is taken back; --force keeps a copy."""
    before = host.tree()
    apply(host)
    host.real(CONFIG).write_text("# mine\n")
    middle = host.tree()
    with pytest.raises(InitConflict, match=r"config\.toml"):
        undo(host)
    assert host.tree() == middle
    undo(host, force=True, purge=True)
    after = host.tree()
    kept = [name for name in after.keys() - before.keys() if name.endswith("config.toml")]
    assert [host.text(Path(name)) for name in kept] == ["# mine\n"]
    assert {name: image for name, image in after.items() if "/var/backups" not in name} == before


@needs_root
def test_undo_does_not_forget_who_was_let_in(host):
    """New members of the group mailapi are named before the group goes."""
    apply(host)
    group = host.real(Path("/etc/group"))
    lines = [line + "ann" * line.startswith("mailapi:") for line in group.read_text().splitlines()]
    group.write_text("\n".join(lines) + "\n")
    with pytest.raises(InitConflict, match="members of the group mailapi"):
        undo(host)


@needs_root
def test_accounts_of_others_survive(host):
    """An account that was made meanwhile stays, and ours go."""
    apply(host)
    host.account("useradd", "--no-create-home", "ann")
    undo(host, purge=True)
    assert {"ann", "root", "postfix"} == set(host.accounts("passwd"))


@needs_root
def test_a_configuration_that_is_there_counts(host):
    """It is not replaced, and the directories that it names are made."""
    host.real(CONFIG).parent.mkdir()
    text = '[server]\nadmin_socket = "/run/a.sock"\n[dovecot]\nmail_home = "/srv/mail/%u"\n'
    host.real(CONFIG).write_text(text)
    host.real(Path("/srv")).mkdir()
    apply(host)
    assert host.text(CONFIG) == text
    assert host.image(Path("/srv/mail")).uid == host.uid("vmail")
    undo(host, purge=True)
    assert host.text(CONFIG) == text


@needs_root
def test_a_later_version_is_undone_too(host):
    """A second apply that changes files stands in the journal beside the first."""
    before = host.tree()
    apply(host)
    later = host.plan()
    path = Path("/etc/systemd/system/mailapi.service")
    later.ours[:] = [
        steps.File(path, b"[Service]\n") if getattr(step, "path", None) == path else step
        for step in later.ours
    ]
    init.apply(host, later, [], lambda _: None)
    assert host.text(path) == "[Service]\n"
    undo(host, purge=True)
    assert host.tree() == before


@needs_root
def test_a_change_between_two_runs_is_not_forgotten(host):
    """What a second apply overwrote is named at undo, and kept if that is forced."""
    apply(host)
    path = Path("/usr/local/sbin/mailapi-reload")
    host.real(path).write_text("mine\n")
    apply(host)
    with pytest.raises(InitConflict, match="mailapi-reload"):
        undo(host)
    undo(host, force=True)
    assert host.image(path) == ABSENT
    kept = [name for name in host.tree() if "/var/backups" in name and name.endswith(path.name)]
    assert [host.text(Path(name)) for name in kept] == ["mine\n"]


@needs_root
@pytest.mark.slow
@pytest.mark.timeout(600)  # useradd(8) waits for the disk
def test_killed_anywhere(tmp_path, host):
    """Killed at any act, `apply` finishes what was begun, and `undo` takes it back to the byte."""
    whole = FakeHost(tmp_path / "whole")
    whole.furnish()
    before = whole.tree()
    apply(whole)
    done = {name: image for name, image in whole.tree().items() if not name.startswith(str(HOME))}
    act = 0
    while True:
        act += 1
        finished, undone = (FakeHost(tmp_path / f"{act}-{n}").furnish() for n in range(2))
        if not dies(finished, act, lambda host=finished: apply(host)):
            break
        assert dies(undone, act, lambda host=undone: apply(host))
        apply(finished)
        tree = finished.tree()
        assert {n: i for n, i in tree.items() if not n.startswith(str(HOME))} == done, act
        undo(undone, purge=True)
        if HOME.as_posix() in undone.tree():  # the first act of all: no journal, and empty
            assert not Journal(undone).open
            undone.remove_directory(HOME, everything=True)
        assert undone.tree() == before, act
    assert act > 60


@needs_root
@pytest.mark.slow
@pytest.mark.timeout(600)  # useradd(8) waits for the disk
def test_undo_killed_anywhere(tmp_path, host):
    """Killed at any act, `undo` is done again."""
    before, act = host.tree(), 0
    while True:
        act += 1
        again = FakeHost(tmp_path / str(act)).furnish()
        apply(again)
        if not dies(again, act, lambda host=again: undo(host, purge=True)):
            break
        undo(again, purge=True)
        again.remove_directory(HOME, everything=True)
        assert again.tree() == before, act
    assert act > 20


def test_the_journal_forgets_half_a_line(host):
    """What a crash cut off is no entry, and the next one takes its place."""
    journal = Journal(host)
    journal.mark("one")
    file = host.real(HOME / "journal")
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:20])
    assert [entry.name for entry in journal.entries()] == ["one"]
    journal.mark("two")
    assert [entry.name for entry in journal.entries()] == ["one", "two"]


def test_a_damaged_journal_is_not_guessed_at(host):
    """A whole line that is none is an error, not an undo of the rest."""
    journal = Journal(host)
    journal.mark("one")
    file = host.real(HOME / "journal")
    file.write_bytes(b"{}\n" + file.read_bytes())
    with pytest.raises(InitFailed, match="damaged"):
        journal.entries()


def test_the_journal_is_roots_alone(host):
    """Copies of shadow(5) are in it."""
    journal = Journal(host)
    journal.record(Entry("copy", "/etc/shadow", ABSENT), b"secret")
    assert host.image(HOME).mode == 0o700
    assert host.image(journal.copy(1)).mode == 0o600
    assert b"secret" not in host.read(HOME / "journal")


def test_one_at_a_time(host):
    """A second one does not begin."""
    with (
        Journal(host).locked(),
        pytest.raises(InitFailed, match="Another"),
        Journal(host).locked(),
    ):
        pass
    with Journal(host).locked():
        pass


def test_conflicts_stop_it(host):
    """Nothing is changed if something is in the way."""
    before = host.tree()
    with pytest.raises(InitConflict):
        init.apply(host, host.plan(), ["something"], lambda _: None)
    assert host.tree() == before


def test_the_configuration_that_is_written(host):
    """It is the example with the host's name, the two sockets, and the proxy if nginx is there."""
    config = plan.parse(plan.config_text(host, host.plan().found))
    assert config.server.hostname == "mail.example.net"
    assert config.server.admin_socket == Path("/run/mailapi/admin.sock")
    assert config.reload.socket == Path("/run/mailapi-reload.socket")
    with pytest.raises(ConfigError):
        plan.parse("nonsense")


@pytest.mark.parametrize(
    ("mail_home", "root"),
    [("/var/vmail/%d/%n", "/var/vmail"), ("/srv/mail-%u", "/srv"), ("/srv/m/%u/x", "/srv/m")],
)
def test_where_the_mail_begins(mail_home, root):
    """The directory above all that depends on the mailbox."""
    config = plan.parse(f"[dovecot]\nmail_home = {json.dumps(mail_home)}\n")
    assert plan.mail_root(config) == Path(root)
