"""The decode engine: rows of tokens through a model whose keys and values lie in one pool."""
