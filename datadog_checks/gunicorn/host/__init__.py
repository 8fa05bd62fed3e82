"""The processes of the host: the only code that reads them, through psutil and /proc."""
