"""Images as sequences of tokens: orders, the transformer, healing."""
