"""Settings of the tests of the protocol."""

from hypothesis import settings

# A busy machine makes one example slow; the tests that care for time measure it themselves.
settings.register_profile("calm", deadline=None)
settings.load_profile("calm")
