"""The sentence encoder all-MiniLM-L6-v2."""
