"""What `audiosep separate` does around the separator: recordings, names, what is done already, pipes."""
