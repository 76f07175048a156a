"""Take the README's picture of the report's first page: make html, then python tools/picture.py."""

import argparse
from io import BytesIO

from command import UserError, exit_on_user_error
from pdf import ROOT, open_page
from PIL import Image

FIRST, PICTURE = ROOT / "book" / "_build" / "html" / "index.html", ROOT / "docs" / "report.png"


def main() -> None:
    """Write the picture, with 64 colours."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    if not FIRST.is_file():
        raise UserError(f"{FIRST.relative_to(ROOT)} does not exist: run make html first.")
    with open_page(1200, 1180) as page:
        page.goto(FIRST.as_uri())
        page.wait_for_load_state()
        page.evaluate("Promise.all([...document.images].map((image) => ((image.loading = 'eager'), image.decode())))")
        page.wait_for_timeout(500)  # the side bar is animated
        picture = Image.open(BytesIO(page.screenshot()))
    picture.convert("RGB").quantize(64).save(PICTURE, optimize=True)
    print(f"The first page's picture: {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
