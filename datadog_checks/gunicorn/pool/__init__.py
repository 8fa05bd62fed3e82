"""One application over many runs: its masters, its workers and what they use."""
