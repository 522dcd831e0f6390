"""`mailapi domain|mailbox|alias|changes`: list, show, add, set and rm, made once for all of them.

Each command is one request to the running service; the service says what is wrong. What is stored
but not live yet is told on standard error, and the exit code is 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import Exists, NotEmpty, NotFound
from . import options, passwords
from .objects import ALIAS, MAILBOX, SYNCJOB, Field, Noun

if TYPE_CHECKING:
    from ..client import Service

F = TypeVar("F", bound=Callable[..., Any])
LIMIT = click.IntRange(0, 1000)


def group(noun: Noun) -> click.Group:
    """The command group of a noun."""
    made = click.Group(noun.name, help=noun.help)
    made.add_command(_list(noun))
    if noun.argument:
        for command in (_show, _add, _set, _rm):
            made.add_command(command(noun))
    return made


def _one(noun: Noun) -> str:
    return f"{'an' if noun.name[0] in 'aeiou' else 'a'} {noun.name}"


def _list(noun: Noun) -> click.Command:
    def filters(command: F) -> F:
        command = click.option(
            "--limit", type=LIMIT, default=noun.limit, show_default=True, help="0: all."
        )(command)
        command = click.option("-q", "--query", "q", help="With this text in its name.")(command)
        if noun.switch:
            command = click.option("--active/--no-active", default=None, help="On, or off.")(
                command
            )
        return click.option("--domain", help="Of this domain.")(command)

    @click.command("list", help=f"All {noun.resource}; those that the options select.")
    @options.service_options
    @options.output_option
    @filters
    def list_(service: Service, output: str, limit: int, **given: Any) -> None:
        query = {name: _text(value) for name, value in given.items() if value is not None}
        query |= {"limit": str(limit)} if limit else {}
        options.show(
            _request(service, "GET", f"/{noun.resource}", query=query), output, noun.columns
        )

    return list_


def _show(noun: Noun) -> click.Command:
    @click.command("show", help=f"All fields of {_one(noun)}.")
    @options.service_options
    @options.output_option
    @click.argument("which", metavar=noun.argument)
    def show(service: Service, output: str, which: str) -> None:
        options.show_one(_request(service, "GET", _path(service, noun, which)), output)

    return show


def _add(noun: Noun) -> click.Command:
    @click.command("add", help=f"Add {_one(noun)}.")
    @options.service_options
    @options.output_option
    @click.argument("which", metavar="ADDRESS" if noun in (ALIAS, SYNCJOB) else noun.argument)
    @_fields(noun, add=True)
    def add(service: Service, output: str, which: str, **given: Any) -> None:
        body = _body(given) | _named(noun, which)
        if noun is MAILBOX and "quota" not in body:
            body["quota"] = _defquota(service, body["domain"])
        password = _password(noun, given, required=True)
        body |= {noun.asks: password} if password else {}
        _done(_request(service, "POST", f"/{noun.resource}", body), output, given, password)

    return add


def _set(noun: Noun) -> click.Command:
    @click.command("set", help=f"Change those fields of {_one(noun)} that are given.")
    @options.service_options
    @options.output_option
    @click.argument("which", metavar=noun.argument)
    @_fields(noun, add=False)
    def set_(service: Service, output: str, which: str, **given: Any) -> None:
        password = _password(noun, given, required=False)
        body = _body(given) | ({noun.asks: password} if password else {})
        if not body:
            raise click.UsageError("Say what to change; --help lists the options.")
        answer = _request(service, "PUT", _path(service, noun, which), body)
        _done(answer, output, given, password)

    return set_


def _rm(noun: Noun) -> click.Command:
    def cascade(command: F) -> F:
        text = "Remove its mailboxes and aliases with it."
        option = click.option("--cascade", is_flag=True, help=text)
        return option(command) if noun.cascade else command

    @click.command("rm", help=f"Remove {_one(noun)}.")
    @options.service_options
    @options.output_option
    @click.argument("which", metavar=noun.argument)
    @cascade
    def rm(service: Service, output: str, which: str, cascade: bool = False) -> None:
        query = {"cascade": "true"} if cascade else None
        try:
            answer = _request(service, "DELETE", _path(service, noun, which), query=query)
        except Exists:
            raise NotEmpty("It is not empty; remove what it holds, or use --cascade.") from None
        _done(answer, output, {})

    return rm


def _fields(noun: Noun, add: bool) -> Callable[[F], F]:
    """The options of a noun's fields; those of `set` have no defaults, and none is required."""

    def decorate(command: F) -> F:
        if noun.asks:
            command = passwords.password_options(command, new=noun is not SYNCJOB)
        for field in reversed(noun.fields):
            if add and field.only_set:
                continue
            command = _option(field, add)(command)
        return command

    return decorate


def _option(field: Field, add: bool) -> Callable[[F], F]:
    name = "--" + field.name.replace("_", "-")
    many = field.type is list
    return click.option(
        f"{name}/--no{name[1:]}" if field.type is bool else name,
        field.name,
        type=str if many else field.type,
        multiple=many,
        default=field.default if add else None,
        show_default=add and field.default not in (None, ""),
        required=add and field.required,
        help=field.help,
    )


def _request(service: Service, *what: Any, **more: Any) -> Any:
    from .. import client

    return client.request(service, *what, **more)


def _path_of(resource: str, name: str) -> str:
    from .. import client

    return client.path(resource, name)


def _path(service: Service, noun: Noun, name: str) -> str:
    """The path of the object; an alias has a number, which its address is looked up for."""
    if noun is ALIAS and not name.isdecimal():
        name = _alias(service, name)
    return _path_of(noun.resource, name)


def _defquota(service: Service, domain: str) -> int:
    try:
        return int(_request(service, "GET", _path_of("domains", domain))["defquota"])
    except NotFound:
        raise NotFound("There is no such domain; add it with mailapi domain add.") from None


def _alias(service: Service, name: str) -> str:
    from ..addresses import alias_address

    unknown = NotFound("There is no such alias; see mailapi alias list.")
    try:
        address = alias_address(name)
    except ValueError:
        raise unknown from None
    query = {"domain": address.rpartition("@")[2], "q": address}
    for row in _request(service, "GET", "/aliases", query=query):
        if row["address"] == address:
            return str(row["id"])
    raise unknown


def _named(noun: Noun, name: str) -> dict[str, Any]:
    """The fields that say which object is to be added."""
    if noun is MAILBOX:
        local_part, at, domain = name.rpartition("@")
        if not at:
            raise click.UsageError("Name the mailbox by its full address.")
        return {"local_part": local_part, "domain": domain}
    return {{ALIAS: "address", SYNCJOB: "username"}.get(noun, "domain"): name}


def _body(given: dict[str, Any]) -> dict[str, Any]:
    """The fields that were given; options of passwords are none."""
    fields = given.keys() - set(passwords.OPTIONS)
    found = {name: given[name] for name in fields if given[name] not in (None, ())}
    if "exclude" in found:
        found["exclude"] = [pattern for pattern in found["exclude"] if pattern]
    return found | {"goto": ",".join(found["goto"])} if "goto" in found else found


def _password(noun: Noun, given: dict[str, Any], *, required: bool) -> str | None:
    if not noun.asks:
        return None
    asked = {name: given.get(name, False) for name in passwords.OPTIONS}
    return passwords.ask(required, **asked)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _done(
    answer: dict[str, Any], output: str, given: dict[str, Any], password: str | None = None
) -> None:
    """Say what was done; a generated password this once; and exit with 1 if it is not live."""
    shown = {"password": password} if given.get("generate") else {}
    detail = answer.get("detail", "")
    if output == "json":
        click.echo(json.dumps(answer | shown, indent=2, ensure_ascii=False))
    else:
        said = detail if answer["applied"] else ""
        click.echo(f"{answer['msg']}: {answer['id']}. {said}".rstrip())
        if shown:
            click.echo(f"Its password, shown this once: {password}")
    if not answer["applied"]:
        click.echo(f"mailapi: Stored, but not live yet. {detail}", err=True)
        click.get_current_context().exit(1)
