"""A checkpoint on disk: where it is, what it consists of, and that nothing in it runs. No torch."""
