"""`mailapi doctor`: is this host as it should be, and what mends it if not."""
