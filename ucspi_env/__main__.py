"""``python -m ucspi_env`` is ``ucspi-envcheck``."""

from ucspi_env.envcheck._entry import run

run()
