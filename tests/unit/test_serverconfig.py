"""What Postfix and Dovecot are told to read: complete, quoted, and fit for their versions."""

from __future__ import annotations

import re
import subprocess
from ipaddress import ip_network
from pathlib import Path

import pytest

from mailapi import config, resources, serverconfig
from mailapi.entries import FILES
from mailapi.errors import ConfigError

QUEUE = Path("/var/spool/postfix")
MAPS = [file.name for file in FILES if file.server == "postfix"]


def configured(root: str = "/srv/mail", **sections: dict) -> config.Config:
    built = config.dev(Path(root))
    return built.model_copy(
        update={name: getattr(built, name).model_copy(update=s) for name, s in sections.items()}
    )


def dovecot(version: str = "2.3.19", **sections: dict) -> str:
    return serverconfig.dovecot(configured(**sections), version, QUEUE)


@pytest.mark.parametrize("map_type", ["lmdb", "texthash"])
def test_each_map_is_wired_once(map_type):
    """Every rendered map is named by its type and path, and no other file of the directory is."""
    text = serverconfig.postfix(configured(postfix={"map_type": map_type}), "3.7.11")
    named = re.findall(rf"{map_type}:/srv/mail/postfix/(\w+)", text)
    assert sorted(named) == sorted(MAPS + ["smtpd_renew"] * (map_type == "lmdb"))


def test_maps_serve_the_parameter_of_their_name():
    """A map is the value of the parameter that it is named after; recipient_access is none's."""
    text = serverconfig.postfix(configured(), "3.7.11")
    for name in MAPS:
        if name != "recipient_access":
            assert f"\npostconf -e '{name} = lmdb:/srv/mail/postfix/{name}'\n" in text


def test_the_script_is_shell():
    """sh(1) can parse it, and every command in it is postconf or a check."""
    text = serverconfig.postfix(configured(), "3.7.11")
    subprocess.run(["sh", "-n", "-s"], input=text, text=True, check=True)
    commands = [line for line in text.splitlines() if line and not line.startswith(("#", "  "))]
    assert {line.split()[0] for line in commands} == {"set", "test", "postconf"}


KNOWN = ("3.5.23", "3.7.9", "3.7.11", "3.9-20231112", "3.9.0", "3.10.5")


@pytest.mark.parametrize("version", [*KNOWN, "3.4.29", "3.5.22", "3.7.8", "3.8.3"])
def test_bare_newline(version):
    """smtpd_forbid_bare_newline is set where this version has it."""
    text = serverconfig.postfix(configured(), version)
    assert ("smtpd_forbid_bare_newline" in text) is (version in KNOWN)


@pytest.mark.parametrize("path", ["/srv/my mail", "/srv/$x", "/srv/a'b", "/srv/a,b", "/srv/a:b"])
def test_paths_that_no_configuration_can_hold(path):
    """Blanks, quotes and other signs in a path are refused, by the key's name alone."""
    for write in (
        lambda: serverconfig.postfix(configured(path), "3.7.11"),
        lambda: serverconfig.dovecot(configured(path), "2.3.19", QUEUE),
        lambda: serverconfig.dovecot(configured(), "2.3.19", Path(path)),
        lambda: dovecot(dovecot={"mail_home": f"{path}/%u"}),
        lambda: dovecot(dovecot={"userdb_socket": Path(path)}),
    ):
        with pytest.raises(ConfigError) as caught:
            write()
        assert path not in str(caught.value)


def test_dovecot_syntax_follows_the_version():
    """2.3 and 2.4 have a syntax each; what is older than 2.3 is refused."""
    assert "mail_location = maildir:~/Maildir" in dovecot("2.3.19.1 (9b53102964)")
    assert "mail_inbox_path = ~/Maildir" in dovecot("2.4.1-4 (7d8c0e5759)")
    with pytest.raises(ConfigError):
        dovecot("2.2.36")


@pytest.mark.parametrize("version", ["2.3.19", "2.4.1"])
def test_dovecot_reads_one_file(version):
    """passdb and userdb read the same passwd-file, so that they share one cache."""
    assert dovecot(version).count("/srv/mail/dovecot/users\n") == 2


@pytest.mark.parametrize("version", ["2.3.19", "2.4.1"])
def test_dovecot_sockets(version):
    """The sockets for Postfix lie in its queue directory; the service's only where it is named."""
    text = dovecot(version)
    for name in ("dovecot-lmtp", "dovecot-quota", "auth"):
        assert f"unix_listener /var/spool/postfix/private/{name} {{" in text
    assert "mailapi-userdb" not in text
    for path, name in (
        ("/run/dovecot/mailapi-userdb", "mailapi-userdb"),
        ("/run/mailapi/x-userdb", "/run/mailapi/x-userdb"),
    ):
        text = dovecot(version, dovecot={"userdb_socket": Path(path)})
        assert f"unix_listener {name} {{\n    mode = 0600\n    user = mailapi\n" in text


def test_mail_home():
    """%d, %n and %u stay in 2.3 and become expressions in 2.4."""
    home = {"dovecot": {"mail_home": "/m/%d/%n/%u"}}
    assert "mail_home = /m/%d/%n/%u\n" in dovecot("2.3.19", **home)
    expected = "mail_home = /m/%{user | domain}/%{user | username}/%{user}\n"
    assert expected in dovecot("2.4.1", **home)


def test_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Without the server and without a version, the error says which server is missing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="Postfix is not installed"):
        serverconfig.postfix(configured())
    with pytest.raises(ConfigError, match="Dovecot is not installed"):
        serverconfig.dovecot(configured())
    assert f"{QUEUE}/private/auth" in serverconfig.dovecot(configured(), "2.3.19")


@pytest.mark.parametrize("version", ["", "new", "3"])
def test_unknown_version(version):
    """What is no version is refused."""
    with pytest.raises(ConfigError):
        serverconfig.postfix(configured(), version)
    with pytest.raises(ConfigError):
        dovecot(version)


@pytest.mark.parametrize("name", ["postfix", "dovecot-2.3", "dovecot-2.4", "nginx"])
def test_template_opens_with_a_comment(name):
    """Each template says first who reads it."""
    text = resources.path("templates", "config", f"{name}.j2").read_text()
    assert text.startswith("{# The output of `mailapi config ")


@pytest.mark.parametrize(
    ("host", "upstream", "proxies"),
    [
        ("127.0.0.1", "127.0.0.1:8080", '"127.0.0.1"'),
        ("0.0.0.0", "127.0.0.1:8080", '"127.0.0.1"'),
        ("10.0.0.5", "10.0.0.5:8080", '"10.0.0.5"'),
        ("::1", "[::1]:8080", '"::1"'),
        ("::", "[::1]:8080", '"::1"'),
        ("localhost", "localhost:8080", '"127.0.0.1", "::1"'),
    ],
)
def test_nginx_reaches_the_service(host, upstream, proxies):
    """It goes where the service listens, and says whom the service must trust for it."""
    text = serverconfig.nginx(configured(server={"host": host}))
    assert set(re.findall("proxy_pass (.*);", text)) == {f"http://{upstream}"}
    assert f"#   trusted_proxies = [{proxies}]\n" in text


@pytest.mark.parametrize(
    ("trusted", "missing"),
    [((), True), (("127.0.0.1/32",), False), (("127.0.0.0/8",), False), (("::1/128",), True)],
)
def test_nginx_must_be_trusted(trusted, missing):
    """Where [server] trusted_proxies lacks it, the output says so."""
    networks = tuple(ip_network(network) for network in trusted)
    text = serverconfig.nginx(configured(server={"trusted_proxies": networks}))
    assert ("IT HAS NOT YET" in text) is missing


@pytest.mark.parametrize("server", [{"socket": Path("/run/x")}, {"port": 0}])
def test_nginx_needs_a_port(server):
    """Over a Unix socket no client has an address, so nginx is not told to use one."""
    with pytest.raises(ConfigError, match="port"):
        serverconfig.nginx(configured(server=server))
