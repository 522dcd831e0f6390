"""The sync runner: a process of its own, with the rights of the mail's user.

It takes due jobs from the service over `[sync] socket`, and an engine, mbsync(1) of isync, copies
the mail. The engine never sees a remote password: it logs in at a `relay` of the runner, with a
word that counts once. The runner looks up, judges and pins the remote address, checks the
certificate and logs in; the relay passes on only what reads. Dovecot's own imap program stores.
"""
