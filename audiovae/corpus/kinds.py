"""The kinds of corpus that a path or URL can be, and the loader that each has."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from audiovae.corpus.loader import Loader
from audiovae.corpus.shard_loader import SHUFFLE, ShardLoader
from audiovae.corpus.shards import INDEX_FILE, Shards
from audiovae.corpus.sources import is_remote
from audiovae.corpus.store import STORE_FILE, FilesStore, Store
from audiovae.errors import ConfigError, CorpusError

Corpus = Store | FilesStore | Shards
"""Recordings to train on."""
AnyLoader = Loader | ShardLoader
"""What gives batches of them."""


def open_corpus(place: str | Path, sample_rate: int) -> Corpus:
    """Open a store, shards, or a folder of domain folders.

    Shards may also be a URL that fsspec opens, or `pipe:COMMAND`. Raises `CorpusError` at another
    sample rate.
    """
    corpus = _open(place, sample_rate)
    if corpus.sample_rate != sample_rate:
        raise CorpusError(
            f"{place} holds audio at {corpus.sample_rate} Hz and the config asks for "
            f"{sample_rate}: prepare it with --sample-rate {sample_rate}, or set audio.sample_rate"
        )
    return corpus


def _open(place: str | Path, sample_rate: int) -> Corpus:
    if is_remote(place):
        return Shards.open(place)
    path = Path(place)
    if not path.is_dir():
        raise CorpusError(f"no store or folder at {path}; make one with `audiovae prepare`")
    if (path / STORE_FILE).is_file():
        return Store.open(path)
    if (path / INDEX_FILE).is_file():
        return Shards.open(path)
    if any(path.glob("*.tar")):
        raise CorpusError(
            f"{path} holds tar files and no {INDEX_FILE}: run the prepare command that made them "
            f"to its end, or audiovae prepare {path} -o {path} --shards where another program did"
        )
    return FilesStore(path, sample_rate=sample_rate)


def open_recordings(place: str | Path, sample_rate: int) -> Store | FilesStore:
    """Open a corpus whose recordings are read by themselves. Raises `CorpusError` on shards."""
    corpus = open_corpus(place, sample_rate)
    if isinstance(corpus, Shards):
        raise CorpusError(
            f"{place} holds shards, which are read in streams, and here recordings are read one by "
            "one: give a store, of audiovae prepare without --shards"
        )
    return corpus


def make_loader(
    corpus: Corpus,
    *,
    domains: list[str],
    split: str,
    rows: int,
    clip_samples: int,
    seed: int,
    pairing: Literal["none", "aligned"] = "none",
    reader: Literal["auto", "resident", "memmap", "files"] = "auto",
    device: str | torch.device = "cpu",
    rank: int = 0,
    world: int = 1,
    streams: int = 1,
    shuffle: float = SHUFFLE,
) -> AnyLoader:
    """Return the checked loader of a corpus.

    Args:
        corpus: of any kind.
        domains: the batch's keys.
        split: `train`, `valid` or `test`.
        rows: clips of a domain in this rank's batch.
        clip_samples: samples of a clip.
        seed: of all that is drawn.
        pairing: `aligned` for rows of one moment, which shards don't have.
        reader: of a store or a folder; shards know `auto` alone.
        device: of the batches.
        rank: this process's number.
        world: how many processes there are.
        streams: that a domain's shards are read in, over all ranks, which have one each at least.
            Ranks whose number divides it draw the same batches.
        shuffle: seconds of audio that clips of shards are drawn from at a time.

    Raises `CorpusError` on unknown domains or too little audio, `ConfigError` on settings that
    don't fit each other or the kind of corpus.
    """
    common: dict[str, Any] = {
        "domains": domains,
        "split": split,
        "rows": rows,
        "clip_samples": clip_samples,
        "seed": seed,
        "device": device,
    }
    loader: AnyLoader
    if isinstance(corpus, Shards):
        if pairing != "none":
            raise ConfigError(
                "shards give recordings in any order, and training.pairing = aligned needs them "
                "side by side: set it to none, or give a store, which audiovae prepare makes "
                "without --shards"
            )
        if reader != "auto":
            raise ConfigError(f"training.reader is {reader}; shards are streamed: set it to auto")
        workers = max(1, streams // world)
        loader = ShardLoader(
            corpus, rank=rank, world=world, workers=workers, shuffle=shuffle, **common
        )
    else:
        common |= {"row_offset": rank * rows, "processes": world}
        loader = Loader(corpus, pairing=pairing, reader=reader, **common)
    loader.check()
    return loader
