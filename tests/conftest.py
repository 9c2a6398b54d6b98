"""What all tests share."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.peers.plugin"]

# A busy machine must not fail a property: it is the timeout of a test that ends what hangs.
settings.register_profile("spire-py", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("spire-py")
