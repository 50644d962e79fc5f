"""Give a trained model one more domain: encoder frozen, one new decoder, minutes."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import torch

from audiovae.corpus.kinds import Corpus, open_corpus
from audiovae.corpus.manifest import valid_domain
from audiovae.corpus.prepare import prepare
from audiovae.corpus.shards import INDEX_FILE
from audiovae.corpus.sources import is_remote
from audiovae.corpus.store import STORE_FILE, Store
from audiovae.errors import CorpusError, UserError
from audiovae.locks import holding, lock_beside
from audiovae.model.autoencoder import AudioVAE
from audiovae.training.autoencoder import VAETask
from audiovae.training.loop import Budget, run_task
from audiovae.training.optimise import pick_device
from audiovae.training.start import hear_ceilings, machine

ROWS = 12
"""Clips in a step: all of one domain."""
TRANSLATED = 0.75
"""Share of the clips that are heard as the model's other decoders play them: nearly pairs."""


def add_domain(
    source: str | Path,
    name: str,
    model: AudioVAE,
    output: str | Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    init_from: str | None = None,
    device: str = "auto",
    progress: bool = True,
) -> dict[str, Any]:
    """Train a decoder for a new domain and write the model with it; repeat the call to resume.

    Args:
        source: a folder of recordings of the domain, or a store or shards that have it.
        name: of the domain.
        model: a trained model; it is not changed.
        output: checkpoint folder to write; a folder `.NAME.run` beside it holds the training.
        minutes: budget in minutes of this machine (10 when neither is given).
        steps: or in steps.
        seed: of the training.
        init_from: domain whose decoder the new one starts from; when left out, the one that
            reconstructs the new domain best.
        device: `auto`, `cpu`, `cuda`, `mps`.
        progress: write to the console.

    Returns:
        A summary of steps, seconds, the last validation and where the new decoder started.

    Raises:
        UserError: while another command holds the output, among what else is the user's to mend.
    """
    valid_domain(name)
    if name in model.domains:
        known = ", ".join(model.domains)
        raise UserError(f"the model has a domain {name!r} already ({known}): choose another name")
    if init_from is not None:
        model.decoder(init_from)
    budget = Budget(10 if minutes is None and steps is None else minutes, None, steps)
    output, place = Path(output), pick_device(device)
    if output.exists() and not (output / "config.json").is_file():
        raise UserError(f"{output} exists and is no checkpoint: choose another output folder")
    work = output.with_name(f".{output.name}.run")
    with holding(output, lock_beside(output), "add-domain"):
        corpus = _corpus(source, name, work, model, progress)
        settings = dataclasses.replace(
            model.config.training, seed=seed, rows=ROWS, pairing="none", accumulate=1,
            reader="auto", streams=1,
            translated_share=0.0 if model.config.speaks else TRANSLATED, translated_ramp=0.0,
        )  # fmt: skip
        objective = dataclasses.replace(
            model.config.objective, confusion="none", agreement_weight=0.0
        )
        config = dataclasses.replace(model.config, training=settings, objective=objective)

        grown = copy.deepcopy(model).to(place)
        grown.config = config
        for parameter in grown.parameters():
            parameter.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            decoder = grown.add_decoder(name).to(place)
        task = VAETask(grown, corpus, targets=[name], frozen=True)
        origin = init_from or nearest(task, model.domains)
        if origin is not None:
            decoder.load_state_dict(grown.decoder(origin).state_dict())
        hear_ceilings(grown, corpus, [name])
        task.remember()
        facts = {"seed": seed, "machine": machine(place), "data": corpus.fingerprint}
        task.describe(work, recipe="add-domain", **facts)
        fingerprint = hashlib.sha256(f"{corpus.fingerprint} {model.domains} {origin}".encode())
        with contextlib.closing(task):
            summary = run_task(
                task,
                work / "run",
                config,
                budget=budget,
                fingerprint=fingerprint.hexdigest(),
                domains=[name],
                device=place,
                progress=progress,
            )
        task.average.swap()
        grown.config = model.config
        grown.provenance = copy.deepcopy(model.provenance)
        added = {"from": origin, "steps": summary["steps"], "hours": round(corpus.hours(name), 3)}
        grown.provenance.setdefault("added", {})[name] = added | {"seed": seed}
        grown.cpu().eval().save_pretrained(output)
        return {**summary, "start": origin, "output": str(output), "domain": name}


def _corpus(place: str | Path, name: str, work: Path, model: AudioVAE, progress: bool) -> Corpus:
    """Return a corpus that has the domain: `place` itself, or a store of the files in it."""
    sample_rate, source = model.config.audio.sample_rate, Path(place)
    remote = is_remote(place)
    if not remote and not source.is_dir():
        raise CorpusError(f"no folder of recordings or store at {source}")
    if remote or any((source / index).is_file() for index in (STORE_FILE, INDEX_FILE)):
        store = open_corpus(place, sample_rate)
        if name not in store.domains:
            raise CorpusError(f"{place} has no domain {name!r}; it has {', '.join(store.domains)}")
        return store
    # As loud as what the encoder was trained on.
    level = min(max(model.statistics.loudness, -60.0), 0.0)
    link = work / "source" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(source.resolve(), target_is_directory=True)
    report = prepare(
        link.parent, work / "store", sample_rate=sample_rate, level=level, progress=progress
    )
    if progress:
        print(report.table())
    return Store.open(work / "store")


@torch.no_grad()
def nearest(task: VAETask, domains: list[str]) -> str | None:
    """Return the domain whose decoder comes nearest to a batch of the new one's clips."""
    model, name = task.model, task.targets[0]
    if not domains:
        return None
    audio = task.loader.batch(0)[name]
    wanted, z = task.likelihood.target(audio), model.encode(audio).mean

    def error(domain: str) -> float:
        located, _ = model.locate(z, domain)
        return float(task.likelihood.score(model, domain, located, wanted, 0)[1])

    return min(domains, key=error)
