"""The configuration: defaults, file, environment, and errors that name the key, not the value."""

from __future__ import annotations

import os
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from mailapi import config
from mailapi.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.startswith("MAILAPI_"):
            monkeypatch.delenv(variable)


@pytest.fixture
def load(tmp_path: Path):
    def load(text: str) -> config.Config:
        file = tmp_path / "config.toml"
        file.write_text(text)
        return config.load(file)

    return load


def test_example_holds_each_key_with_its_default():
    """config.example.toml has the model's sections and keys, no others, and their defaults."""
    example = tomllib.loads(config.example())
    model = {
        name: field.annotation.model_fields for name, field in config.Config.model_fields.items()
    }
    assert {name: set(keys) for name, keys in example.items()} == {
        name: set(keys) for name, keys in model.items()
    }
    assert config.Config(**example) == config.Config()
    for name, keys in model.items():
        for key, field in keys.items():
            written = example[name][key]
            assert written == (
                str(field.default or "")
                if isinstance(written, str)
                else list(field.default)
                if isinstance(written, list)
                else field.default
            )


def test_example_explains_each_key():
    """Every key of the example stands below a comment or a key that does."""
    lines = config.example().splitlines()
    for before, line in pairwise(lines):
        if " = " in line and not line.startswith("#"):
            assert before.startswith("#") or " = " in before


def test_show_reads_back(load, tmp_path, monkeypatch):
    """What `show` prints loads to the same configuration, odd strings included."""
    shown = config.show(
        load(
            '[reload]\ncommand=["/a b", "\\"q\\" \\\\ ü"]\ntimeout=1.5\n'
            '[server]\ntrusted_proxies=["10.1.2.3/8", "::1"]\nsocket="/s"\n'
        )
    )
    again = load(shown)
    assert config.show(again) == shown
    assert again.reload.command == ("/a b", '"q" \\ ü')
    assert str(again.server.trusted_proxies[0]) == "10.0.0.0/8"


def test_environment_wins(load, monkeypatch):
    """A variable beats the file, in the type of its key; other keys of the section stay."""
    for name, value in {
        "SERVER__PORT": "77",
        "SERVER__TRUSTED_PROXIES": '["::1"]',
        "SYNC__ALLOW_PRIVATE_HOSTS": "true",
        "DOVECOT__USERDB_SOCKET": "",
        "DOVECOT__LOOK_INTERVAL": "0.5",
        "RELOAD__COMMAND": '["a", "b"]',
        "STATE__DIRECTORY": "/x",
    }.items():
        monkeypatch.setenv(f"MAILAPI_{name}", value)
    loaded = load('[server]\nport=1\nhost="::1"\n')
    assert (loaded.server.port, loaded.server.host) == (77, "::1")
    assert str(loaded.server.trusted_proxies[0]) == "::1/128"
    assert loaded.sync.allow_private_hosts is True
    assert loaded.dovecot.userdb_socket is None
    assert loaded.dovecot.look_interval == 0.5
    assert loaded.reload.command == ("a", "b")
    assert loaded.state.directory == Path("/x")


def test_other_variables_are_left_alone(load, monkeypatch):
    """MAILAPI_KEY and the like, which name no section, are not ours to judge."""
    monkeypatch.setenv("MAILAPI_KEY", "x")
    load("")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nport='80secret'", ["[server] port", "integer"]),
        ("[server]\nport='8080'", ["[server] port", "integer"]),
        ("[server]\nport=70000", ["[server] port", "65535"]),
        ("[server]\nprot=1", ["[server] prot is unknown", "did you mean port?"]),
        ("[serve]\nport=1", ["[serve] is unknown", "did you mean server?"]),
        ("server=1", ["[server]", "table"]),
        ("[server]\nhost='secret secret'", ["[server] host", "IP address"]),
        ("[server]\nhostname='secret secret'", ["[server] hostname", "host name"]),
        ("[server]\ntrusted_proxies=['secret']", ["[server] trusted_proxies", "10.0.0.0/8"]),
        ("[server]\ntrusted_proxies='secret'", ["[server] trusted_proxies", "array"]),
        ("[server]\nsocket='secret'", ["[server] socket", "absolute"]),
        ("[state]\ndirectory='secret'", ["[state] directory", "absolute"]),
        ("[state]\ndirectory='/secret\\n'".replace("'", '"'), ["[state] directory", "control"]),
        ("[passwords]\nbcrypt_rounds=17", ["[passwords] bcrypt_rounds", "16"]),
        ("[passwords]\nbcrypt_rounds=3", ["[passwords] bcrypt_rounds", "4"]),
        ("[postfix]\nmap_type='secret'", ["[postfix] map_type", "'lmdb' or 'texthash'"]),
        ("[dovecot]\nmail_home='/secret/%n'", ["[dovecot] mail_home", "%d"]),
        ("[dovecot]\nmail_home='/secret/%u/%q'", ["[dovecot] mail_home", "%d"]),
        ("[dovecot]\nlook_interval=nan", ["[dovecot] look_interval", "finite"]),
        ("[reload]\ncommand='secret'", ["[reload] command", "array"]),
        ("[reload]\ncommand=['a', 5]", ["[reload] command", "string"]),
        ("[sync]\nallow_private_hosts=1", ["[sync] allow_private_hosts", "boolean"]),
        ("[log]\nlevel='secret'", ["[log] level", "'info'"]),
        ("[log]\nlevel='secret", ["is not TOML (at"]),
        ("[rate_limit]\nrequests=-1\nperiod=0", ["requests", "[rate_limit] period"]),
    ],
)  # fmt: skip
def test_errors_name_key_and_remedy(load, text, said):
    """Each error names its key and what it must be, and does not repeat the value."""
    with pytest.raises(ConfigError) as caught:
        load(text)
    for part in said:
        assert part in caught.value.msg
    assert "secret" not in caught.value.msg


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MAILAPI_SERVER__PORT", "secret", "[server] port"),
        ("MAILAPI_SERVER__PROT", "1", "did you mean port?"),
        ("MAILAPI_SERVR__PORT", "1", "did you mean server?"),
        ("MAILAPI_RELOAD__COMMAND", "secret", "MAILAPI_RELOAD__COMMAND must be JSON"),
        ("MAILAPI_LOG", "secret", "MAILAPI_LOG must be JSON"),
    ],
)
def test_errors_of_variables(load, monkeypatch, variable, value, said):
    """A variable that is wrong is named too, without its value."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        load("")
    assert said in caught.value.msg
    assert "secret" not in caught.value.msg


def test_all_problems_at_once(load):
    """One run shows every key at fault."""
    with pytest.raises(ConfigError) as caught:
        load("[server]\nport=-1\nprot=2\n[log]\nlevel=3\n")
    assert caught.value.msg.count(";") == 2


def test_missing_file(tmp_path, monkeypatch):
    """A missing default file names `serve --dev`; a missing named one does not."""
    monkeypatch.setattr(config, "DEFAULT_PATH", tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="mailapi serve --dev"):
        config.load(None)
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "other.toml")
    assert "--dev" not in caught.value.msg


def test_unreadable_files(tmp_path):
    """A directory or a file in another encoding is a ConfigError, not a traceback."""
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path)
    (tmp_path / "latin").write_bytes(b"# \xff\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        config.load(tmp_path / "latin")


def test_dev_keeps_to_its_directory(tmp_path, monkeypatch):
    """`dev` writes below its directory, waits for no Dovecot, and yields to the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAILAPI_SERVER__PORT", "0")
    made = config.dev(Path("a %b"))
    for section in (made.state, made.postfix, made.dovecot):
        assert section.directory.is_relative_to(tmp_path / "a %b")
    assert (made.dovecot.look_interval, made.dovecot.userdb_socket) == (0, None)
    assert (made.server.host, made.server.port) == ("127.0.0.1", 0)


def test_hostname_is_lower_case(load, monkeypatch):
    """The host's own name stands in for an empty one; both are lower case."""
    monkeypatch.setattr("socket.gethostname", lambda: "MX")
    monkeypatch.setattr("socket.getfqdn", lambda name: f"{name}.Example.com")
    assert load("").server.hostname == "mx.example.com"
    assert load("[server]\nhostname='Mail.Example.ORG'").server.hostname == "mail.example.org"
    monkeypatch.setattr("socket.getfqdn", lambda name: "localhost")
    assert load("").server.hostname == "mx"


def test_frozen(load):
    """Nothing can be changed after loading."""
    with pytest.raises(ValueError, match="frozen"):
        load("").server.port = 1
