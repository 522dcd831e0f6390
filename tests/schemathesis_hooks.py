"""What schemathesis must not do to itself, for `api/test_schemathesis.py`; it loads this module.

It would remove the key that it uses, after which it sees nothing but 401, would wait half a minute
whenever it asks GET /status for a generation to come, and would take it for a fault of the service
that nobody looks at the remote side of a sync job (503 `no_runner`): no runner is there. All else
it sends as it likes.
"""

from __future__ import annotations

from typing import Any

import schemathesis

OWN_KEY = "1"  # the first of a service
WAITS = {str(seconds) for seconds in range(1, 31)}  # all that are allowed
LOOKS = {"true", "1"}


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]
) -> None:
    if case.operation.label == "DELETE /keys/{id}":
        if str(case.path_parameters.get("id")) == OWN_KEY:
            case.path_parameters["id"] = 10**9
    elif case.operation.label == "GET /status" and str(case.query.get("wait")) in WAITS:
        case.query["wait"] = 0
    elif case.operation.label == "POST /syncjobs" and str(case.query.get("test")).lower() in LOOKS:
        case.query["test"] = "false"
