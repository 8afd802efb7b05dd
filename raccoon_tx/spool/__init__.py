"""The disk spool: what is acknowledged before Kafka has it lies here until it has."""
