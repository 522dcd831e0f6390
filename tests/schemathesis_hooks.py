"""What schemathesis must not do to itself, for `api/test_schemathesis.py`; it loads this module.

It would remove the key that it uses, after which it sees nothing but 401, and would wait half a
minute whenever it asks GET /status for a generation to come. All else it sends as it likes.
"""

from __future__ import annotations

from typing import Any

import schemathesis

OWN_KEY = "1"  # the first of a service
WAITS = {str(seconds) for seconds in range(1, 31)}  # all that are allowed


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]
) -> None:
    if case.operation.label == "DELETE /keys/{id}":
        if str(case.path_parameters.get("id")) == OWN_KEY:
            case.path_parameters["id"] = 10**9
    elif case.operation.label == "GET /status" and str(case.query.get("wait")) in WAITS:
        case.query["wait"] = 0
