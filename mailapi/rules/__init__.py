"""The rules: may this change happen, and what does it do to the rows? One module a resource."""
