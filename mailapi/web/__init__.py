"""Pages for people: the owner's password (`password`), and the API's documentation (`docs`)."""
