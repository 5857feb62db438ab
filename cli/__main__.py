"""``python -m dgl_merc.cli``."""

from dgl_merc.cli.main import main

if __name__ == "__main__":
    main(prog_name="dglmerc")
