"""Renew the README's picture of the report's first page: make html, then python tools/picture.py."""

from io import BytesIO

from command import MistakeError, in_sentences
from pdf import ROOT, chromium
from PIL import Image
from playwright.sync_api import sync_playwright

FIRST, PICTURE = ROOT / "book" / "_build" / "html" / "index.html", ROOT / "docs" / "report.png"
SIZE = {"width": 1200, "height": 1180}


def main() -> None:
    """Write the picture, in as few colours as it needs."""
    if not FIRST.is_file():
        raise MistakeError(f"{FIRST.relative_to(ROOT)} is not there: make html first.")
    path = chromium()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(offline=True, color_scheme="light", viewport=SIZE).new_page()
        page.goto(FIRST.as_uri())
        page.wait_for_load_state()
        page.evaluate("Promise.all([...document.images].map((image) => ((image.loading = 'eager'), image.decode())))")
        page.wait_for_timeout(500)  # the side bar's own movement
        picture = Image.open(BytesIO(page.screenshot()))
        browser.close()
    picture.convert("RGB").quantize(64).save(PICTURE, optimize=True)
    print(f"The first page's picture: {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    with in_sentences():
        main()
