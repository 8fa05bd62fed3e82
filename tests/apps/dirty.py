"""A dirty application (Gunicorn 25.0 and later)."""

from gunicorn.dirty.app import DirtyApp


class Idle(DirtyApp):
    def init(self):
        pass

    def close(self):
        pass
