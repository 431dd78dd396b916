"""``python -m refsr`` and the program ``refsr``: the command line."""

import sys


def main() -> int:
    """Run the command line; returns the exit code. Ctrl-C is a sentence while it loads, too."""
    try:
        from refsr.cli import main as run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("refsr: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
