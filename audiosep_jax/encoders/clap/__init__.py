"""CLAP: RoBERTa for sentences and HTSAT for sounds, in one common space."""
