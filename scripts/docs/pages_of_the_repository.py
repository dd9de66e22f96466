"""A hook of mkdocs: the site's pages are the repository's own files.

Pages, the figures that they show, and the code and tables that they link to keep their paths, so
that a link that works in the repository works on the site.
"""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

HOME = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("agents", "envs", "runs/reference", "scripts", "tests", "trpo")
SUFFIXES = {".css", ".csv", ".gif", ".gz", ".ipynb", ".json", ".md", ".png", ".py", ".toml", ".txt"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Use the repository's files instead of those of a documentation folder.

    Args:
        files: what mkdocs has found.
        config: of the site.

    Returns:
        The theme's files, and ours.
    """
    theme = [file for file in files if file.src_dir != config.docs_dir]
    ours = [
        File(name, str(HOME), config.site_dir, config.use_directory_urls)
        for name in sorted(repository_files())
    ]
    return Files([*theme, *ours])


def repository_files() -> set[str]:
    """Return the paths of pages, and of files they may link to."""
    paths = [*HOME.glob("*"), HOME / "runs" / "README.md"]
    for folder in FOLDERS:
        paths += (HOME / folder).rglob("*")
    # trpo/agents and the like are links to folders that are included under their own names
    return {
        path.relative_to(HOME).as_posix()
        for path in paths
        if (path.suffix in SUFFIXES or path.name == "LICENSE")
        and path.is_file()
        and path.resolve() == path
    }
