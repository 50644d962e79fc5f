"""Verbs that serve: web."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import arg

from audiovae.verbs.options import Place, Report, UseModel, Whole, WithModel

Names = Annotated[list[str], arg(metavar="NAME ...")]


@dataclass(kw_only=True)
class Web:
    """Serve a web page: drop or record a sound, hear it on other instruments. Ends by Ctrl-C.

    Needs the extra web.
    """

    host: str = "127.0.0.1"
    """Where to listen: 127.0.0.1 is for this machine alone, 0.0.0.0 for all who can reach it."""
    port: Whole = None
    """The first free one from 8420 on, when left out."""
    name: Names = field(default_factory=list)
    """Names by which browsers reach this machine, where it is not by its address."""
    folder: Place = None
    """Folder of sounds, in which nearest neighbours are looked for."""
    index: Place = None
    """An .npz file that keeps the folder's embeddings, so that the next start is quick."""
    open: bool = False
    """Open the page in a browser."""
    max_megabytes: float = 100.0
    """Of an upload."""
    max_seconds: float = 300.0
    """Of a sound."""
    concurrency: int = 1
    """Jobs at a time."""
    waiting: int = 16
    """Jobs that wait at most."""
    job_seconds: float = 120.0
    """That a job may take."""
    per_minute: int = 60
    """Uploads and jobs of one client in a minute."""
    keep_minutes: float = 30.0
    """That sounds are kept after their last use."""
    storage_megabytes: float = 2000.0
    """That all sounds together may take, in the system's temporary folder."""

    common: UseModel = field(default_factory=WithModel)

    def run(self) -> Report:
        """Serve."""
        from audiovae.apps.web.serve import check_web, serve_page
        from audiovae.apps.web.settings import WebSettings

        check_web()
        settings = WebSettings(
            host=self.host,
            port=self.port,
            names=tuple(self.name),
            max_megabytes=self.max_megabytes,
            max_seconds=self.max_seconds,
            concurrency=self.concurrency,
            waiting=self.waiting,
            job_seconds=self.job_seconds,
            per_minute=self.per_minute,
            keep_minutes=self.keep_minutes,
            storage_megabytes=self.storage_megabytes,
            precision=self.common.precision,
        )
        found = self.common.find()

        def ready(address: str, beyond: bool) -> None:
            if beyond:
                print(
                    f"warning: {self.host} can be reached from beyond this machine, without a "
                    "password and without encryption: whoever reaches it can use this page",
                    file=sys.stderr,
                )
            print(f"{found.note}\n{address}  (Ctrl-C ends it)", flush=True)

        facts = serve_page(
            found,
            settings,
            folder=self.folder,
            index=self.index,
            ready=ready,
            browser=self.open,
        )
        return Report([f"{facts['jobs']} jobs done"], {"model": found.note, **facts})
