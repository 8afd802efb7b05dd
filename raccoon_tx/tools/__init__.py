"""The tools on the command line: ``raccoon send``, ``raccoon tail`` and ``raccoon top``."""
