"""A program that embeds Gunicorn and accepts its options."""

from app import app
from gunicorn.app.base import BaseApplication


class Embedded(BaseApplication):
    def load_config(self):
        given = vars(self.cfg.parser().parse_args())
        for name, value in given.items():
            if name in self.cfg.settings and value is not None:
                self.cfg.set(name, value)

    def load(self):
        return app


Embedded().run()
