"""What the service is told, as its socket takes it: numbers and texts have their limits there.

running(number, progress), ended(number, outcome)   # of runs
await tested(test, rules)                           # of a test: folders, or why not
"""

from __future__ import annotations

import json
from typing import Any, Final

import structlog

from .engine import Outcome, Progress
from .faults import SyncFault, explained
from .listing import SHOWN, TOP
from .remote import Rules, logged_in

OUTPUT: Final = 4000  # characters
SIZE: Final = 6 * 1024 * 1024  # octets of an answer; the service takes 8
_log = structlog.get_logger("mailapi.runner")


def running(number: int, progress: Progress) -> dict[str, Any]:
    return {
        "run": number,
        "messages": min(progress.messages, TOP),
        "bytes": min(progress.bytes, TOP),
        "folder": progress.folder and progress.folder[:SHOWN],
        "share": progress.share,
    }


def ended(number: int, outcome: Outcome) -> dict[str, Any]:
    return {
        "run": number,
        "result": outcome.result,
        "messages": min(outcome.messages, TOP),
        "bytes": min(outcome.bytes, TOP),
        "output": outcome.output[-OUTPUT:],
    }


def failed(number: int, fault: SyncFault) -> dict[str, Any]:
    return {"number": number, "code": fault.code, "field": fault.field, "reason": fault.reason}


async def tested(test: dict[str, Any], rules: Rules) -> dict[str, Any]:
    """The answer to a test; no exception but `CancelledError`."""
    try:
        return await _looked(test, rules)
    except SyncFault as fault:
        return failed(test["number"], fault)
    except Exception:
        _log.exception("a test failed")
        return failed(test["number"], SyncFault("internal"))


async def _looked(test: dict[str, Any], rules: Rules) -> dict[str, Any]:
    with explained():
        async with logged_in(test, rules) as remote:
            found = await remote.folders(test["exclude"])
    folders = [
        {"name": f.name, "messages": f.messages, "bytes": f.bytes, "excluded": f.excluded}
        for f in found
    ]
    if len(json.dumps(folders)) > SIZE:
        raise SyncFault("too_much")
    sizes = [folder.bytes for folder in found if folder.bytes is not None]
    total = min(sum(sizes), TOP) if len(sizes) == len(found) else None
    messages = min(sum(folder.messages for folder in found), TOP)
    return {"number": test["number"], "folders": folders, "messages": messages, "bytes": total}
