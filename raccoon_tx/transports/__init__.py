"""The front door: bytes <-> calls, no decisions."""
