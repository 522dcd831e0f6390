-- Domains, mailboxes, aliases, keys, the change log and the generation.
-- Sizes are in MB (1,048,576 bytes), booleans 0 or 1, times ISO 8601 in UTC.

CREATE TABLE domain (
    id             INTEGER PRIMARY KEY,
    domain         TEXT    NOT NULL UNIQUE,
    active         INTEGER NOT NULL CHECK (active IN (0, 1)),
    aliases        INTEGER NOT NULL CHECK (aliases >= 0),
    mailboxes      INTEGER NOT NULL CHECK (mailboxes >= 0),
    defquota       INTEGER NOT NULL CHECK (defquota >= 1),
    maxquota       INTEGER NOT NULL CHECK (maxquota >= defquota),
    quota          INTEGER NOT NULL CHECK (quota >= maxquota),
    backupmx       INTEGER NOT NULL CHECK (backupmx IN (0, 1)),
    description    TEXT    NOT NULL,
    mailboxes_used INTEGER NOT NULL DEFAULT 0 CHECK (mailboxes_used BETWEEN 0 AND mailboxes),
    aliases_used   INTEGER NOT NULL DEFAULT 0 CHECK (aliases_used BETWEEN 0 AND aliases),
    quota_used     INTEGER NOT NULL DEFAULT 0 CHECK (quota_used BETWEEN 0 AND quota),
    created        TEXT    NOT NULL,
    modified       TEXT    NOT NULL
) STRICT;

CREATE TABLE mailbox (
    id              INTEGER PRIMARY KEY,
    domain_id       INTEGER NOT NULL REFERENCES domain (id),
    email           TEXT    NOT NULL UNIQUE,
    local_part      TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    password_hash   TEXT    NOT NULL,
    quota           INTEGER NOT NULL CHECK (quota >= 0),
    active          INTEGER NOT NULL CHECK (active IN (0, 1)),
    force_pw_update INTEGER NOT NULL CHECK (force_pw_update IN (0, 1)),
    tls_enforce_in  INTEGER NOT NULL CHECK (tls_enforce_in IN (0, 1)),
    tls_enforce_out INTEGER NOT NULL CHECK (tls_enforce_out IN (0, 1)),
    generation      INTEGER NOT NULL, -- the last one that changed the line in Dovecot's users file
    created         TEXT    NOT NULL,
    modified        TEXT    NOT NULL
) STRICT;
CREATE INDEX mailbox_domain ON mailbox (domain_id, email);

CREATE TABLE alias (
    id          INTEGER PRIMARY KEY AUTOINCREMENT, -- a number is never given twice
    domain_id   INTEGER NOT NULL REFERENCES domain (id),
    address     TEXT    NOT NULL UNIQUE,
    active      INTEGER NOT NULL CHECK (active IN (0, 1)),
    description TEXT    NOT NULL,
    created     TEXT    NOT NULL,
    modified    TEXT    NOT NULL
) STRICT;
CREATE INDEX alias_domain ON alias (domain_id, address);

CREATE TABLE alias_target (
    alias_id INTEGER NOT NULL REFERENCES alias (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    address  TEXT    NOT NULL, -- as given, with the case of a foreign local part
    base     TEXT    NOT NULL, -- in lower case, without +tag
    domain   TEXT    NOT NULL,
    PRIMARY KEY (alias_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX alias_target_base ON alias_target (base);
CREATE INDEX alias_target_domain ON alias_target (domain);

CREATE TRIGGER mailbox_added AFTER INSERT ON mailbox BEGIN
    UPDATE domain SET mailboxes_used = mailboxes_used + 1, quota_used = quota_used + new.quota
    WHERE id = new.domain_id;
END;
CREATE TRIGGER mailbox_removed AFTER DELETE ON mailbox BEGIN
    UPDATE domain SET mailboxes_used = mailboxes_used - 1, quota_used = quota_used - old.quota
    WHERE id = old.domain_id;
END;
CREATE TRIGGER mailbox_quota AFTER UPDATE OF quota ON mailbox BEGIN
    UPDATE domain SET quota_used = quota_used - old.quota + new.quota WHERE id = new.domain_id;
END;
CREATE TRIGGER alias_added AFTER INSERT ON alias BEGIN
    UPDATE domain SET aliases_used = aliases_used + 1 WHERE id = new.domain_id;
END;
CREATE TRIGGER alias_removed AFTER DELETE ON alias BEGIN
    UPDATE domain SET aliases_used = aliases_used - 1 WHERE id = old.domain_id;
END;
CREATE TRIGGER alias_moved AFTER UPDATE OF domain_id ON alias WHEN old.domain_id <> new.domain_id
BEGIN
    UPDATE domain SET aliases_used = aliases_used - 1 WHERE id = old.domain_id;
    UPDATE domain SET aliases_used = aliases_used + 1 WHERE id = new.domain_id;
END;

CREATE TABLE api_key (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL,
    scope      TEXT NOT NULL CHECK (scope IN ('admin', 'write', 'read')),
    domains    TEXT NOT NULL, -- JSON array, empty = all
    allow_from TEXT NOT NULL, -- JSON array of networks, empty = any
    expires    TEXT,
    digest     BLOB NOT NULL UNIQUE, -- SHA-256 of the key
    created    TEXT NOT NULL
) STRICT;

CREATE TABLE change (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    generation INTEGER NOT NULL,
    at         TEXT    NOT NULL,
    who        TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    action     TEXT    NOT NULL CHECK (action IN ('add', 'update', 'remove')),
    object     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    domain     TEXT,
    before     TEXT,
    after      TEXT
) STRICT;
CREATE INDEX change_domain ON change (domain, id);

CREATE TABLE idempotency (
    who         TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,
    answer      TEXT    NOT NULL, -- JSON
    at          INTEGER NOT NULL, -- Unix time
    PRIMARY KEY (who, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_at ON idempotency (at);

-- Mailboxes whose sessions are still to be ended, once the generation is live.
CREATE TABLE kick (address TEXT PRIMARY KEY, generation INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE state (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    generation INTEGER NOT NULL, -- the wished state
    applied    INTEGER NOT NULL  -- the servers act on this one, at least
) STRICT;
INSERT INTO state VALUES (1, 0, 0);
