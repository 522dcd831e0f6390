"""`mailapi sandbox`: a Postfix and a Dovecot of their own, in one directory, on loopback only."""
