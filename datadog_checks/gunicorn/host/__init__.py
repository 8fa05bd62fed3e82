"""What runs here: the only code that asks psutil and /proc about processes."""
