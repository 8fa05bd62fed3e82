"""One application from run to run: its masters, its workers, and what they did in between."""
