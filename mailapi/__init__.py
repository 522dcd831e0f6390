"""mailapi: a REST API for a plain single-host Postfix and Dovecot mail server."""

__version__ = "0.1.0"
