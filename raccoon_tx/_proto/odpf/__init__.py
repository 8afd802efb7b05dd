"""Messages generated from the definitions in `proto/`. Generated; do not edit."""
