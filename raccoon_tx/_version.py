__version__ = "0.1.0"
"""The version of this package, in the form of PEP 440."""
