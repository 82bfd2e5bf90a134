"""The version of the installed package. It is written in pyproject.toml alone, and looked up when somebody asks."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__: str = version("ucspi-env")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+not.installed"
