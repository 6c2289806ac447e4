"""The command `audiosep separate`: recordings, queries, names of results, records, pipes."""
