"""The hook of MkDocs: pages that are generated, or that live elsewhere in the repository.

A page of the site and the same file on a code host need different links to files outside `docs/`.
The source has the link that works in the repository; here it becomes the link of the site.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.hooks import reference

ROOT = Path(__file__).parents[2]

OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "deploy/README.md": "deploy.md",
}
"""Files of the repository that are pages of the site, by the name of the page."""

GENERATED: dict[str, Callable[[], str]] = {
    "reference/settings.md": reference.settings_page,
    "reference/commands.md": reference.commands_page,
    "reference/events.md": reference.events_page,
    "reference/http.md": reference.http_page,
    "decisions/index.md": lambda: reference.decisions_page(ROOT / "docs" / "decisions"),
}

_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#\s])")
"""The path in a Markdown link to a file, without its anchor; links with a scheme do not match."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every decision record into the navigation, in the order of their numbers."""
    records = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    for section in config.nav or []:
        if isinstance(section, dict) and "Decisions" in section:
            section["Decisions"] = ["decisions/index.md", *(f"decisions/{r.name}" for r in records)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in `docs/`."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for page, written in GENERATED.items():
        files.append(File.generated(config, page, content=written()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Change links between files of the repository into links between pages."""
    del config, files
    uri = page.file.src_uri
    return with_site_links(markdown, uri)


def with_site_links(markdown: str, page: str) -> str:
    """Return a page's text with links that lead to pages of the site."""
    sources = {page: source for source, page in OUTSIDE.items()}
    folder = dirname(sources.get(page, f"docs/{page}"))

    def changed(link: re.Match[str]) -> str:
        target = normpath(join(folder, link[1]))
        found = OUTSIDE.get(target) or (
            target.removeprefix("docs/") if target.startswith("docs/") else None
        )
        return relpath(found, dirname(page) or ".") if found else link[1]

    return _LINK.sub(changed, markdown)
