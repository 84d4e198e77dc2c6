"""The decode engine: rows of tokens through a model with its pool of keys and values, and draws."""
