"""``python -m ucspi_env.envcheck.lint PATH...``."""

from ucspi_env.envcheck.lint.cli import lint

if __name__ == "__main__":
    lint(prog_name="ucspi-envcheck lint")
