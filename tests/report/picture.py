"""The picture of the report that the README shows: `python -m tests.report.picture PAGE`."""

import argparse
import tempfile
from pathlib import Path

from tests.report.test_browser import browse

PICTURE = Path(__file__).parents[2] / "docs" / "report.png"
SIZE = 1280, 1750


def take(page: Path, picture: Path, *options: str) -> list[str]:
    """Screenshot a page from its top; the lines that its console held."""
    size = f"--window-size={SIZE[0]},{SIZE[1]}"
    with tempfile.TemporaryDirectory() as profile:
        return browse(page.resolve(), profile, size, f"--screenshot={picture}", *options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="index.html of the laptop study's report")
    complaints = take(parser.parse_args().page, PICTURE)
    assert complaints == [], complaints
