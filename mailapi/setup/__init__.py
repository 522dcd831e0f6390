"""`mailapi init`: set up this host, and take it back."""
