"""Tests of ``--preload`` and ``--handler``."""
