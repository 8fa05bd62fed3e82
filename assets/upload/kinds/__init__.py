"""The kinds of objects that the command makes in an account, one module for each."""
