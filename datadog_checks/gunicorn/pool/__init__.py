"""The servers of an instance from run to run: their masters, their workers and what they use."""
