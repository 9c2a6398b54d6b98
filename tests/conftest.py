"""What all tests share."""

import signal

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.peers.plugin"]

# A shell that runs the tests in the background has them ignore SIGINT, and so every command that
# they start; some of those must be interruptible.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine must not fail a property: it is the timeout of a test that ends what hangs.
settings.register_profile("spire-py", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("spire-py")
