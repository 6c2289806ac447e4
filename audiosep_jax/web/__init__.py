"""The page of `audiosep web`: upload or record, describe, listen; served to this machine alone by default."""
