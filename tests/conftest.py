"""Property tests draw the same examples on every run; helpers in this folder can be imported."""

from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("fixed")
