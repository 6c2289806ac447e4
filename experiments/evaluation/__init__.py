"""Fixed evaluation sets as data, and the programs that made them."""
