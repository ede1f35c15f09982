"""Attacks on the real app, as the tests of the API have it."""

from tests.api.conftest import built_app, client, plain_client, services

__all__ = ["built_app", "client", "plain_client", "services"]
