"""How long the command line takes to say something, beside Python itself and the import of its one dependency.

Run it as `python -m bench.cli`. Goal: help in well under a second, and under 3 times the import of typer.
"""

import subprocess
import sys
from time import perf_counter

ROUNDS = 7
PROGRAMS = {
    "python -c pass": ["-c", "pass"],
    "python -c 'import typer'": ["-c", "import typer"],
    "python -m kmm --help": ["-m", "kmm", "--help"],
    "python -m kmm plan --help": ["-m", "kmm", "plan", "--help"],
    "python -m kmm validate stacks/dev": ["-m", "kmm", "validate", "stacks/dev"],
    "python -m kmm schema": ["-m", "kmm", "schema"],
}


def fastest(arguments: list[str]) -> float:
    """Seconds of the fastest of some rounds: what the machine can do when nothing else runs."""
    seconds = []
    for _ in range(ROUNDS):
        start = perf_counter()
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
        seconds.append(perf_counter() - start)
    return min(seconds)


def main() -> None:
    floor = fastest(PROGRAMS["python -c 'import typer'"])
    for name, arguments in PROGRAMS.items():
        seconds = fastest(arguments)
        print(f"{name:34} {seconds:6.3f} s  {seconds / floor:4.1f} times the import of typer")


if __name__ == "__main__":
    main()
