"""The built html, read without a browser: its links, its downloads, its size."""

import json
from urllib.parse import unquote, urlsplit
from zipfile import ZipFile

from vitlib import paths


def downloads(name):
    """Return the numbers that the published page of a notebook holds, by the name of their file on the site."""
    found, tables = {}, 0
    for cell in json.loads((paths.ROOT / "book" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", ()):
            if numbers := "".join(output.get("data", {}).get("text/csv", "")):
                figure = cell["metadata"].get("mystnb", {}).get("figure")
                tables += figure is None
                found[f"{figure['name'] if figure else f'table-{tables}'}.csv"] = numbers
    return found


def test_every_link_inside_the_report_leads_somewhere(pages):
    anchors = {name: {tag["id"] for tag in page.select("[id]")} for name, page in pages.items()}
    broken = []
    for name, page in pages.items():
        for link in page.select("a[href], link[href], [src]"):
            address = urlsplit(link.get("href") or link.get("src"))
            if address.scheme or address.netloc:
                continue
            target = unquote(address.path) or name
            lost = target.endswith(".html") and address.fragment and unquote(address.fragment) not in anchors[target]
            if lost or not (pages.folder / target).is_file():
                broken.append((name, address.geturl()))
    assert broken == []


def test_a_notebooks_page_links_to_its_notebook_and_to_the_numbers_that_it_shows(pages):
    for source in (paths.ROOT / "notebooks").glob("*.ipynb"):
        page, numbers = pages[f"{source.stem}.html"], downloads(source.stem)
        bundle = f"_numbers/{source.stem}/{source.stem}-numbers.zip"
        links = {link["href"] for link in page.select(".page-notebook a[download]")}
        assert links == {f"_sources/{source.name}", f"_sources/notebooks/{source.name}", bundle}
        with ZipFile(pages.folder / bundle) as archive:
            assert {name: archive.read(name).decode() for name in archive.namelist()} == numbers
        for figure in page.select("figure"):
            (link,) = figure.select("figcaption a[download]")
            assert (pages.folder / link["href"]).read_text(encoding="utf-8") == numbers[f"{figure['id']}.csv"]


def test_every_page_has_a_description_and_every_figure_an_alternative_text(pages):
    for name, page in pages.items():
        assert page.select_one("meta[name=description]")["content"], name
        assert all(len(image.get("alt", "")) > 20 for image in page.select("img[src*='_images/']")), name


def test_the_whole_site_is_small(pages):
    assert sum(path.stat().st_size for path in pages.folder.rglob("*") if path.is_file()) <= 15e6
