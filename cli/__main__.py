"""``python -m dgl_merc.cli``."""

from dgl_merc.cli.main import run_process

if __name__ == "__main__":
    run_process()
