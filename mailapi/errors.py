"""The exceptions of the service, without HTTP.

    MailapiError
    ├── Refused                 the request cannot be granted; nothing was stored
    │   ├── Malformed           not JSON, or JSON that no object can be read from
    │   ├── Invalid             fields are at fault (`fields`)
    │   │   ├── LimitExceeded   a limit of the domain would be exceeded
    │   │   ├── TargetNotFound  an alias target in a domain of ours does not exist
    │   │   ├── RemoteFailed    the remote side of a sync job cannot be used as it is given
    │   │   └── AliasLoop       an alias would reach itself, or expand too far
    │   ├── Unauthorized        no key, or none that is valid
    │   ├── Forbidden           the key does not cover this
    │   ├── NotFound            no such object or route
    │   ├── MethodNotAllowed, NotAcceptable, TooSlow, TooLarge, UnsupportedMediaType
    │   ├── Exists              the name is taken
    │   ├── NotEmpty            the domain still has objects
    │   ├── RunnerBusy          another sync runner is connected
    │   ├── PreconditionFailed  If-Match names another version
    │   ├── IdempotencyMismatch the Idempotency-Key came with another body before
    │   └── RateLimited         too many requests
    ├── Unavailable             not now; nothing was stored
    │   ├── Busy                too many password hashes are queued
    │   ├── NoRunner            nobody is there to run sync jobs
    │   ├── NoSecrets           the keys of sync jobs' passwords cannot be used
    │   ├── ShuttingDown        the service is stopping
    │   └── DiskFull            no room for the change
    ├── NotLive                 stored, but Postfix and Dovecot do not act on it yet
    │   ├── PublishFailed       a file could not be written
    │   ├── HookFailed          the reload hook failed or was late
    │   └── DovecotStale        Dovecot does not answer, or does not show the change
    ├── Unrenderable            a value not in normal form reached a template: a fault of ours
    ├── ConfigError             the configuration cannot be used
    ├── AlreadyRunning          another instance runs on this state directory
    ├── ShrunkenMap             publishing would drop most of a map's entries
    ├── StateError              the database is of a newer version, or damaged
    ├── Unreachable             a command cannot reach the service
    ├── InitFailed              a step of `mailapi init` failed, or what it needs is missing
    │   └── InitConflict        the administrator's settings are in its way
    └── SandboxFailed           a server of `mailapi sandbox` failed, or what it needs is missing

`code` is stable: clients may depend on it. `msg` is one sentence that says what to do; it never
holds a value that was refused, a secret or a file path.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field at fault: its name in the request (dotted inside arrays) and what it must be."""

    field: str
    msg: str


class MailapiError(Exception):
    """The root: `code` is stable, `msg` is for people, `retry_after` is in seconds."""

    code = "internal"
    default = "The service failed; the log has the details under this request id."

    def __init__(
        self,
        msg: str | None = None,
        *,
        fields: list[FieldError] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(msg or self.default)
        self.msg = msg or self.default
        self.fields = fields or []
        self.retry_after = retry_after


class Refused(MailapiError):
    code = "refused"


class Malformed(Refused):
    code = "malformed_json"
    default = "The request body is not valid JSON; send one JSON object in UTF-8."


class Invalid(Refused):
    code = "invalid"
    default = "The request has fields that cannot be accepted; see errors."

    @classmethod
    def field(cls, field: str, msg: str) -> Invalid:
        """The error for one field; its message serves as the whole's."""
        return cls(f"{field}: {msg}", fields=[FieldError(field, msg)])


class LimitExceeded(Invalid):
    code = "limit_exceeded"


class TargetNotFound(Invalid):
    code = "target_not_found"


class AliasLoop(Invalid):
    code = "alias_loop"


class Unauthorized(Refused):
    code = "unauthorized"
    default = "Send a valid API key as Authorization: Bearer KEY."


class Forbidden(Refused):
    code = "forbidden"
    default = "This API key does not cover the request; use a key with the scope it needs."


class NotFound(Refused):
    code = "not_found"
    default = "There is no such object; check the address."


class MethodNotAllowed(Refused):
    code = "method_not_allowed"
    default = "This method is not allowed here; the Allow header lists those that are."


class NotAcceptable(Refused):
    code = "not_acceptable"
    default = "The answer is application/json; accept it."


class TooSlow(Refused):
    code = "request_timeout"
    default = "The request body took too long to arrive; send it again."


class TooLarge(Refused):
    code = "too_large"
    default = "The request is too large; split it."


class UnsupportedMediaType(Refused):
    code = "unsupported_media_type"
    default = "Send the body as application/json in UTF-8."


class Exists(Refused):
    code = "exists"
    default = "An object of this name exists already."


class NotEmpty(Refused):
    code = "not_empty"
    default = "The domain is not empty; remove what it holds or use cascade=true."


class RunnerBusy(Refused):
    code = "runner_busy"
    default = "Another sync runner is connected; end one of them."


class PreconditionFailed(Refused):
    code = "precondition_failed"
    default = "The object has changed since it was read; read it again."


class RemoteFailed(Invalid):
    code = "remote_failed"
    default = "The remote side cannot be used as it is given."


class IdempotencyMismatch(Refused):
    code = "idempotency_mismatch"
    default = "This Idempotency-Key was used with another request; use a new one."


class RateLimited(Refused):
    code = "rate_limited"
    default = "Too many requests; wait as long as Retry-After says."


class Unavailable(MailapiError):
    code = "unavailable"


class Busy(Unavailable):
    code = "busy"
    default = "Too many passwords are being hashed; try again as Retry-After says."


class ShuttingDown(Unavailable):
    code = "shutting_down"
    default = "The service is stopping; try again as Retry-After says."


class NoRunner(Unavailable):
    code = "no_runner"
    default = "No sync runner is connected; start mailapi-sync.service, and see [sync] socket."


class NoSecrets(Unavailable):
    code = "no_secrets"
    default = "No password can be encrypted; put the right keys back, see [sync] key_file."


class DiskFull(Unavailable):
    code = "disk_full"
    default = "The disk is full, nothing was stored; make room and try again."


class NotLive(MailapiError):
    code = "not_live"


class PublishFailed(NotLive):
    code = "publish_failed"
    default = "The files for the mail servers cannot be written; the log has the cause."


class HookFailed(NotLive):
    code = "hook_failed"


class DovecotStale(NotLive):
    code = "dovecot_stale"


class Unrenderable(MailapiError):
    code = "internal"


class ConfigError(MailapiError):
    code = "config"


class AlreadyRunning(MailapiError):
    code = "already_running"


class ShrunkenMap(MailapiError):
    code = "shrunken_map"


class StateError(MailapiError):
    code = "state"


class Unreachable(MailapiError):
    code = "unreachable"
    default = "The service does not answer; start it, or check [server] and the log."


class InitFailed(MailapiError):
    code = "init"


class InitConflict(InitFailed):
    code = "init_conflict"


class SandboxFailed(MailapiError):
    code = "sandbox"
