"""A factory of applications for a configuration of PasteDeploy."""

from app import app


def make_app(global_config, **options):
    return app
