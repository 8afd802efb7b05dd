"""What is counted, and how it is told: contract section 12."""
