"""Of the tools for development only `rich` gets into the service: structlog takes it if it can.

It is not there where mailapi is installed, so it is not in what the bench starts.
"""

raise ImportError("not where mailapi is installed")
