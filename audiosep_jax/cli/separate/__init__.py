"""The command `audiosep separate`: arguments, queries, recordings, names and records of results, pipes."""
