-- Sync jobs, and the history of their runs.
-- `due` is Unix time; times that clients see are ISO 8601 in UTC, booleans 0 or 1.

CREATE TABLE sync_job (
    id             INTEGER PRIMARY KEY AUTOINCREMENT, -- a number is never given twice
    domain_id      INTEGER NOT NULL REFERENCES domain (id),
    mailbox_id     INTEGER NOT NULL REFERENCES mailbox (id),
    username       TEXT    NOT NULL,
    host1          TEXT    NOT NULL,
    port1          INTEGER NOT NULL CHECK (port1 BETWEEN 1 AND 65535),
    user1          TEXT    NOT NULL,
    secret         TEXT    NOT NULL, -- password1, encrypted with a key outside the database
    enc1           TEXT    NOT NULL CHECK (enc1 IN ('SSL', 'TLS', 'PLAIN')),
    mins_interval  INTEGER NOT NULL CHECK (mins_interval >= 1),
    subfolder2     TEXT    NOT NULL,
    maxage         INTEGER NOT NULL CHECK (maxage >= 0), -- days, 0 = all
    exclude        TEXT    NOT NULL, -- JSON array of patterns
    delete2        INTEGER NOT NULL CHECK (delete2 IN (0, 1)),
    active         INTEGER NOT NULL CHECK (active IN (0, 1)),
    created        TEXT    NOT NULL,
    modified       TEXT    NOT NULL,
    due            INTEGER,          -- when it runs next; NULL: not before it is changed or started, or has run
    failures       INTEGER NOT NULL DEFAULT 0, -- since the last success
    login_failures INTEGER NOT NULL DEFAULT 0,
    running        INTEGER,          -- the number of its run
    last_run       TEXT,             -- when its last run began
    success        INTEGER,          -- of the last run that has ended
    exit_status    TEXT,
    messages       INTEGER NOT NULL DEFAULT 0, -- copied by the run under way, or else the last one
    bytes          INTEGER NOT NULL DEFAULT 0,
    folder         TEXT,             -- that it is in now
    share          REAL              -- of its work that is done, 0 to 1
) STRICT;
CREATE INDEX sync_job_domain ON sync_job (domain_id);
CREATE INDEX sync_job_mailbox ON sync_job (mailbox_id);
CREATE INDEX sync_job_due ON sync_job (due) WHERE due IS NOT NULL;
CREATE INDEX sync_job_running ON sync_job (running) WHERE running IS NOT NULL;

CREATE TABLE sync_run (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id   INTEGER NOT NULL REFERENCES sync_job (id) ON DELETE CASCADE,
    session  TEXT    NOT NULL, -- of the runner that has it
    started  TEXT    NOT NULL,
    ended    TEXT,
    result   TEXT,
    messages INTEGER NOT NULL DEFAULT 0,
    bytes    INTEGER NOT NULL DEFAULT 0,
    output   TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX sync_run_job ON sync_run (job_id, id);

-- Grows when the state of a job changes, of which the change log tells nothing.
CREATE TABLE sync_clock (one INTEGER PRIMARY KEY CHECK (one = 1), ticks INTEGER NOT NULL) STRICT;
INSERT INTO sync_clock VALUES (1, 0);
