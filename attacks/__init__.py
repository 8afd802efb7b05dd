"""Attacks a server that serves good clients meanwhile: ``python -m attacks``.

Each attack is one `attacks.attack.Attack` in the ``ROWS`` of a module that has one subject; `attacks.rows` has them
all. What an attack gets to do it with is an `attacks.target.Target`.
"""
