"""Addresses in the documentation, as far as they can be judged without a network: whole, and as the text says."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", "targets/README.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("benchmarks/results/*.md")),
]
_LINK = re.compile(r"\[([^\]]*)\]\((https?:[^)\s]*)\)")


def links(page: Path) -> list[tuple[str, str]]:
    """(text, address) of the links that lead out of the repository."""
    return _LINK.findall(re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("page", [page for page in PAGES if links(page)], ids=lambda page: page.name)
def test_addresses_are_whole_and_lead_where_the_text_says(page: Path) -> None:
    for text, address in links(page):
        parts = urlsplit(address)
        assert parts.scheme == "https", address
        assert re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", parts.netloc), address
        assert not re.search(r"[.,;:]$", address), address
        if "arxiv.org" in parts.netloc:
            number = parts.path.removeprefix("/abs/")
            assert re.fullmatch(r"\d{4}\.\d{4,5}", number), address
            assert not text.startswith("arXiv:") or text == f"arXiv:{number}"


@pytest.mark.parametrize("page", sorted(ROOT.glob("benchmarks/results/*.md")), ids=lambda page: page.name)
def test_a_page_of_results_names_the_command_that_makes_it(page: Path) -> None:
    said = page.read_text(encoding="utf-8")
    programs = re.findall(r"`(?:python )?(benchmarks/[\w/]+\.py)", said)
    goals = re.findall(r"`make ([a-z-]+)", said)
    assert programs or goals
    assert all((ROOT / name).is_file() for name in programs)
    assert all(re.search(rf"^{goal}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for goal in goals)


def test_papers_are_linked_on_the_pages_of_techniques() -> None:
    """Where nothing is found the law above would hold of nothing."""
    found = {address for page in PAGES for _, address in links(page)}
    assert len([address for address in found if "arxiv.org" in address]) >= 10
