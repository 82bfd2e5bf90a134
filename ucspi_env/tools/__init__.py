"""The ucspi-tcp suite: each program is ``python -m ucspi_env.tools.NAME`` and the installed script ``ucspi-NAME``."""
