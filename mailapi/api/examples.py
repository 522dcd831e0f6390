"""Request bodies that the service takes one after another, by the name of their schema."""

from __future__ import annotations

from typing import Any, Final

EXAMPLES: Final[dict[str, Any]] = {
    "DomainAdd": {
        "domain": "example.com",
        "active": True,
        "aliases": 400,
        "backupmx": False,
        "defquota": 3072,
        "description": "Example domain",
        "mailboxes": 10,
        "maxquota": 10240,
        "quota": 10240,
    },
    "DomainUpdate": {"mailboxes": 20, "quota": 20480},
    "MailboxAdd": {
        "active": True,
        "domain": "example.com",
        "local_part": "user",
        "name": "Example User",
        "password": "securepassword123",
        "quota": 3072,
        "force_pw_update": False,
        "tls_enforce_in": False,
        "tls_enforce_out": False,
    },
    "MailboxUpdate": {"password": "another password", "force_pw_update": True},
    "AliasAdd": {"address": "info@example.com", "goto": "user@example.com,ann@example.org"},
    "AliasUpdate": {"goto": ["user@example.com"], "description": "Only one reads it now"},
    "SyncJobAdd": {
        "username": "user@example.com",
        "host1": "imap.example.org",
        "user1": "old.user@example.org",
        "password1": "password of the old account",
        "exclude": ["Trash", "Junk*"],
        "mins_interval": 60,
    },
    "SyncJobUpdate": {"mins_interval": 15, "delete2": True},
    "KeyAdd": {
        "name": "control panel",
        "scope": "write",
        "domains": ["example.com"],
        "allow_from": ["192.0.2.0/24", "2001:db8::/32"],
        "expires": "2099-12-31T23:59:59Z",
    },
    "Batch": [
        {
            "method": "POST",
            "path": "/domains",
            "body": {
                "domain": "example.net",
                "active": True,
                "aliases": 10,
                "mailboxes": 0,
                "defquota": 1,
                "maxquota": 1,
                "quota": 1,
            },
        },
        {
            "method": "POST",
            "path": "/aliases",
            "body": {"address": "@example.net", "goto": "user@example.com"},
        },
        {"method": "PUT", "path": "/mailboxes/user@example.com", "body": {"active": False}},
    ],
}
