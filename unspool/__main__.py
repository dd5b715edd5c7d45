"""``python -m unspool``: the command ``dsl``."""

from .dsl.cli import main

if __name__ == "__main__":
    main()
