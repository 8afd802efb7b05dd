"""File, environment and flags -> `Settings`: contract section 13. One table of keys drives all of it."""

from raccoon_tx.config.file import ConfigurationError
from raccoon_tx.config.load import Given, Loaded, load, load_command_line

__all__ = ["ConfigurationError", "Given", "Loaded", "load", "load_command_line"]
