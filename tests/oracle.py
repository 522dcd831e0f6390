"""What the rendered files must say, worked out a second time, and what they do say.

Nothing here comes from the service. `expected` computes the files from a plain state by following
each address by hand, `read` parses the files with a parser of its own, and `check` compares the
two, and Postfix's lmdb: maps with them through postmap(1).

A state is `{"domains": [...], "mailboxes": [...], "aliases": [...]}`, each a list of objects as the
API shows them; switches that are missing have the API's defaults, and `goto` may be a list. A
mailbox may hold `password_hash` and `generation`; without them these are not compared.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

State = dict[str, list[dict[str, Any]]]
Files = dict[str, dict[str, Any]]

MAPS = (
    "virtual_mailbox_domains",
    "virtual_mailbox_maps",
    "virtual_alias_maps",
    "relay_domains",
    "relay_recipient_maps",
    "smtpd_sender_login_maps",
    "recipient_access",
    "sender_dependent_default_transport_maps",
)
USERS = "users"
MATCHES_NOTHING = "{BLF-CRYPT}$2b$04$" + "." * 52 + "/"

WANTS_TLS = "reject_plaintext_session"
SWITCHED_OFF = "550 5.2.1 This address is switched off"
END_OF_SEARCH = "DUNNO"
TLS_TRANSPORT = "mailapi-tls:"


# --- the world of a state: who is where ----------------------------------------------------------


class World:
    def __init__(self, state: State) -> None:
        self.domains = {row["domain"]: row for row in state["domains"]}
        self.mailboxes = {row["email"]: row for row in state["mailboxes"]}
        self.aliases = {row["address"]: row for row in state["aliases"]}

    def active(self, row: dict[str, Any]) -> bool:
        """A mailbox or alias that is switched on, in a domain that is."""
        name = row.get("email") or row["address"]
        return row.get("active", True) and self.domains[domain_of(name)].get("active", True)

    def is_relay(self, name: str) -> bool:
        return bool(self.domains[domain_of(name)].get("backupmx", False))

    def there(self, name: str) -> dict[str, Any] | None:
        return self.mailboxes.get(name) or self.aliases.get(name)

    def taker(self, address: str) -> dict[str, Any] | None:
        """The mailbox or alias that Postfix finds for an address of ours."""
        for name in lookups(address):
            if self.there(name):
                return self.there(name)
        return None

    def names(self, *, relay: bool) -> list[str]:
        """All addresses in the active domains of one sort."""
        return [
            name
            for name in [*self.mailboxes, *self.aliases]
            if self.domains[domain_of(name)].get("active", True) and self.is_relay(name) == relay
        ]


def domain_of(name: str) -> str:
    return name.split("@")[-1]


def untagged(name: str) -> str:
    """`ann+news@d` is `ann@d`; `+news@d` has no tag."""
    local, domain = name.rsplit("@", 1)
    return f"{local.split('+')[0]}@{domain}" if local.find("+") > 0 else name


def lookups(address: str) -> list[str]:
    """The keys under which Postfix looks for an address, in order."""
    name = address.lower()
    keys = [name]
    if untagged(name) != name:
        keys.append(untagged(name))
    if not name.startswith("@"):
        keys.append("@" + domain_of(name))
    return keys


def targets(alias: dict[str, Any]) -> list[str]:
    goto = alias["goto"]
    return goto.split(",") if isinstance(goto, str) else list(goto)


# --- where mail goes -----------------------------------------------------------------------------


def gets_somewhere(world: World, address: str) -> bool:
    """Mail to the address is accepted, and somebody gets it."""
    if domain_of(address) not in world.domains:
        return True  # somebody else's
    domain = world.domains[domain_of(address)]
    if not domain.get("active", True):
        return False
    taker = world.taker(address)
    if taker is None:
        return world.is_relay(address) and not has_recipients(world, domain_of(address))
    if not taker.get("active", True):
        return False
    if "email" in taker or world.is_relay(address):
        return True
    return any(gets_somewhere(world, target) for target in onward(world, taker))


def onward(world: World, alias: dict[str, Any]) -> list[str]:
    """The alias's targets but those that lead back to it."""
    return [target for target in targets(alias) if not leads_to(world, target, alias, ())]


def leads_to(world: World, address: str, alias: dict[str, Any], path: tuple[str, ...]) -> bool:
    """Mail to the address passes through the alias."""
    if domain_of(address) not in world.domains:
        return False
    taker = world.taker(address)
    if taker is None or "email" in taker or not world.active(taker):
        return False
    if taker is alias:
        return True
    if taker["address"] in path:
        return False
    further = (*path, taker["address"])
    return any(leads_to(world, target, alias, further) for target in targets(taker))


def has_recipients(world: World, domain: str) -> bool:
    return any(domain_of(name) == domain for name in [*world.mailboxes, *world.aliases])


def readers(world: World, address: str) -> set[str]:
    """The active mailboxes of ours that mail to the address comes to."""
    if domain_of(address) not in world.domains:
        return set()
    taker = world.taker(address)
    if taker is None or not world.active(taker):
        return set()
    if "email" in taker:
        return {taker["email"]}
    found: set[str] = set()
    for target in onward(world, taker):
        found |= readers(world, target)
    return found


def senders(world: World, name: str) -> set[str]:
    """The readers that can log in here: not those of backup MX domains."""
    return {email for email in readers(world, name) if not world.is_relay(email)}


def any_wants(world: World, emails: Iterable[str], switch: str) -> bool:
    return any(world.mailboxes[email].get(switch, False) for email in emails)


# --- the files -----------------------------------------------------------------------------------


def expected(state: State) -> Files:
    """Key and value of every line of every file."""
    world = World(state)
    files: Files = {name: {} for name in (*MAPS, USERS)}
    for name, domain in world.domains.items():
        if domain.get("active", True):
            relay = domain.get("backupmx", False)
            files["relay_domains" if relay else "virtual_mailbox_domains"][name] = "OK"
            if relay and not has_recipients(world, name):
                files["relay_recipient_maps"][f"@{name}"] = "OK"
    for name in world.names(relay=True):
        row = world.there(name)
        assert row
        if world.active(row):
            files["relay_recipient_maps"][name] = "OK"
    for email, row in world.mailboxes.items():
        if world.active(row) and not world.is_relay(email):
            files["virtual_mailbox_maps"][email] = "OK"
            files[USERS][email] = user(row)
    files["virtual_alias_maps"] = aliases(world)
    files["recipient_access"] = access(world)
    files["smtpd_sender_login_maps"] = owners(world)
    files["sender_dependent_default_transport_maps"] = transports(world)
    return files


def user(row: dict[str, Any]) -> dict[str, Any]:
    password = row.get("password_hash")
    return {
        "password": MATCHES_NOTHING if row.get("force_pw_update", False) else password,
        "quota": row["quota"],
        "generation": row.get("generation"),
    }


def aliases(world: World) -> dict[str, str]:
    found = {}
    for name in world.names(relay=False):
        if name in world.aliases:
            alias = world.aliases[name]
            alive = [t for t in onward(world, alias) if gets_somewhere(world, t)]
            if alias.get("active", True) and alive:
                found[name] = ", ".join(alive)
        elif gets_somewhere(world, f"@{domain_of(name)}"):  # there is a catch-all
            found[name] = name
    return found


def access(world: World) -> dict[str, str]:
    stops = {}
    names = world.names(relay=False) + world.names(relay=True)
    for name in names:
        key = domain_of(name) if name.startswith("@") else name
        if gets_somewhere(world, name):
            if any_wants(world, readers(world, name), "tls_enforce_in"):
                stops[key] = WANTS_TLS
        elif lookups(name)[1:] and gets_somewhere(world, lookups(name)[1]):
            stops[key] = SWITCHED_OFF
    ends = {
        name: END_OF_SEARCH
        for name in names
        if name not in stops and not name.startswith("@") and gets_somewhere(world, name)
        if untagged(name) in stops or domain_of(name) in stops
    }
    return {**stops, **ends}


def owners(world: World) -> dict[str, str]:
    names = world.names(relay=False)
    own = {name: ", ".join(sorted(senders(world, name))) for name in names}
    real = {name: logins for name, logins in own.items() if logins}
    nobodys = {
        name: name
        for name in names
        if name not in real and any(key in real for key in lookups(name)[1:])
    }
    return {**real, **nobodys}


def transports(world: World) -> dict[str, str]:
    names = [name for name in world.names(relay=False) if senders(world, name)]
    tls = {
        name: TLS_TRANSPORT
        for name in names
        if any_wants(world, senders(world, name), "tls_enforce_out")
    }
    ends = {
        name: END_OF_SEARCH
        for name in names
        if name not in tls and any(key in tls for key in lookups(name)[1:])
    }
    return {**tls, **ends}


# --- what is on disk -----------------------------------------------------------------------------


def read(postfix: Path, dovecot: Path) -> Files:
    """Parse all files; anything that is not exactly one key and value a line is an error."""
    texts = {name: (postfix / name).read_bytes() for name in MAPS}
    return parse({**texts, USERS: (dovecot / USERS).read_bytes()})


def parse(texts: Mapping[str, bytes]) -> Files:
    """The same for texts by their file's name."""
    files: Files = {name: parse_map(name, texts[name]) for name in MAPS}
    files[USERS] = parse_users(texts[USERS])
    return files


def lines_of(name: str, data: bytes) -> list[str]:
    text = data.decode("ascii")
    assert text == "" or text.endswith("\n"), f"{name}: the last line has no end"
    lines = text.split("\n")[:-1]
    for line in lines:
        assert line.isprintable(), f"{name}: a character that no line may have: {line!r}"
        assert line == line.strip(), f"{name}: a blank at an end: {line!r}"
    return lines


def parse_map(name: str, data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines_of(name, data):
        key, _, value = line.partition(" ")
        assert key not in found, f"{name}: {key} stands twice"
        assert value, f"{name}: {key} has no value"
        assert not key.startswith("#"), f"{name}: {key} would be a comment"
        found[key] = value
    assert list(found) == in_order(found), f"{name}: the lines are not sorted"
    return found


def parse_users(data: bytes) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for line in lines_of(USERS, data):
        name, password, *empty, extra = line.split(":", 7)
        assert name.count("'") == name.count("\\'"), f"users: Dovecot would not find {name}"
        name = name.replace("\\'", "'")
        assert empty == [""] * 5, f"users: {name} has a field that should be empty"
        assert name not in found, f"users: {name} stands twice"
        fields = dict(field.split("=", 1) for field in extra.split(" "))
        assert list(fields) == [
            "userdb_quota_rule",
            "userdb_quota_storage_size",
            "userdb_mailapi_generation",
        ], f"users: {name} has other fields"
        size = fields["userdb_quota_storage_size"]
        assert fields["userdb_quota_rule"] == f"*:storage={size}", f"users: {name}: two quotas"
        assert size.endswith("M"), f"users: {name}: the quota has no unit"
        found[name] = {
            "password": password,
            "quota": int(size[:-1]),
            "generation": int(fields["userdb_mailapi_generation"]),
        }
    assert list(found) == in_order(found), "users: the lines are not sorted"
    return found


def in_order(keys: Iterable[str]) -> list[str]:
    """By domain, then by the whole key."""
    return sorted(sorted(keys), key=domain_of)


def ask_postmap(path: Path, keys: Iterable[str], config: Path | None = None) -> dict[str, str]:
    """What Postfix finds in `lmdb:PATH` for the keys."""
    command = ["postmap", *(["-c", str(config)] if config else []), "-q", "-", f"lmdb:{path}"]
    run = subprocess.run(
        command, input="".join(f"{key}\n" for key in keys), capture_output=True, text=True
    )
    assert run.returncode in (0, 1), f"{path.name}: postmap failed: {run.stderr}"
    assert not run.stderr, f"{path.name}: postmap says: {run.stderr}"
    return dict(line.split("\t", 1) for line in run.stdout.splitlines())


def require_postmap() -> None:
    """Skip the test where Postfix or its lmdb: maps are missing."""
    if shutil.which("postmap") and "lmdb" in subprocess.check_output(["postconf", "-m"], text=True):
        return
    pytest.skip("needs Postfix with lmdb: maps")


# --- the comparison ------------------------------------------------------------------------------


def compare(wished: Files, found: Files) -> list[str]:
    """A line for each difference: the file, the key, and both values."""
    differences = []
    for file in (*MAPS, USERS):
        want, got = wished[file], found[file]
        for key in in_order(want.keys() | got.keys()):
            if key not in got:
                differences.append(f"{file}: {key} is missing, should be {want[key]}")
            elif key not in want:
                differences.append(f"{file}: {key} should not be there, is {got[key]}")
            elif not same(want[key], got[key]):
                differences.append(f"{file}: {key} should be {want[key]}, is {got[key]}")
    return differences


def same(want: Any, got: Any) -> bool:
    """Equal; of a user, what is not given is not compared."""
    if isinstance(want, dict):
        return all(value is None or got[field] == value for field, value in want.items())
    return bool(want == got)


def compare_maps(wished: Files, postfix: Path, config: Path | None = None) -> list[str]:
    """The same for what Postfix finds in its maps: every key, and a thousand that are not there."""

    def one(file: str) -> list[str]:
        domains = sorted(wished["virtual_mailbox_domains"]) or ["example.com"]
        absent = [f"absent-{number}@{domains[number % len(domains)]}" for number in range(1000)]
        keys = {key for names in wished.values() for key in names}  # of all files
        found = ask_postmap(postfix / file, [*in_order(keys), *absent], config)
        only = {name: ({} if name != file else wished[file]) for name in (*MAPS, USERS)}
        got = {name: ({} if name != file else found) for name in (*MAPS, USERS)}
        return [f"lmdb:{line}" for line in compare(only, got)]

    with ThreadPoolExecutor(2) as pool:
        return [line for lines in pool.map(one, MAPS) for line in lines]


def check(
    state: State, postfix: Path, dovecot: Path, *, maps: bool = True, config: Path | None = None
) -> None:
    """Fail with all differences between the state and the files, and the maps if there are any.

    `postfix` and `dovecot` are the directories of the rendered files, `config` is Postfix's.
    """
    wished = expected(state)
    differences = compare(wished, read(postfix, dovecot))
    if maps and shutil.which("postmap") and (postfix / f"{MAPS[0]}.lmdb").exists():
        differences += compare_maps(wished, postfix, config)
    assert not differences, "\n".join(["The files differ from the state:", *differences])
