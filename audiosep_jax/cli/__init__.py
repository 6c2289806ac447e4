"""The commands of `audiosep`, one module each, and the program that dispatches to them."""
