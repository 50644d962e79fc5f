"""The verbs of the command line: what each takes, the one public call it makes, what it prints.

Nothing heavy is imported here but inside the verbs: `--help` must answer at once.
"""

from __future__ import annotations

from audiovae.verbs.about import Doctor, Info
from audiovae.verbs.embed import Embed, Search
from audiovae.verbs.export import Export
from audiovae.verbs.judge import Evaluate, Probe, ReportRun
from audiovae.verbs.latent import FitPrior, Grid, Interpolate
from audiovae.verbs.live import Live
from audiovae.verbs.training import AddDomain, Prepare, Train, TrainNotes, TrainVocoder
from audiovae.verbs.use import Demo, Generate, Play, Transfer
from audiovae.verbs.web import Web

VERBS: dict[str, type] = {
    "demo": Demo,
    "prepare": Prepare,
    "train": Train,
    "train-vocoder": TrainVocoder,
    "train-notes": TrainNotes,
    "add-domain": AddDomain,
    "transfer": Transfer,
    "play": Play,
    "embed": Embed,
    "search": Search,
    "fit-prior": FitPrior,
    "generate": Generate,
    "interpolate": Interpolate,
    "grid": Grid,
    "live": Live,
    "web": Web,
    "evaluate": Evaluate,
    "probe": Probe,
    "report": ReportRun,
    "export": Export,
    "info": Info,
    "doctor": Doctor,
}
