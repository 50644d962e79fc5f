"""What the web page's server allows: where it listens, and its limits."""

from __future__ import annotations

from dataclasses import dataclass

from audiovae.audio.files import Limits
from audiovae.tables import check_ranges, require

RATE = 48_000
"""Hertz: faster sounds are brought to it on arrival, so that their length bounds their size."""
CHANNELS = 2
SAMPLE_BYTES = 3
"""Of the WAV files that are kept."""
HEADER_BYTES, PICTURE_BYTES = 1 << 12, 1 << 18
"""More than a WAV file's header and a spectrogram take."""


@dataclass(frozen=True)
class WebSettings:
    """Where the server listens and what it allows. Raises `ConfigError` on a value out of range."""

    host: str = "127.0.0.1"
    """Address or name to listen at."""
    port: int | None = None
    """The first free one from 8420 on, when left out."""
    names: tuple[str, ...] = ()
    """Names by which browsers may call it, beside `localhost`, addresses and `host`."""
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
    upload_seconds: float = 120.0
    """That an upload may take."""
    uploads: int = 8
    """Uploads at a time."""
    per_minute: int = 60
    """Uploads and jobs of one client in a minute."""
    keep_minutes: float = 30.0
    """That sounds are kept after their last use."""
    sounds: int = 64
    """Sounds kept at most, with what was made of them."""
    storage_megabytes: float = 2000.0
    """That they may take."""
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_ranges(
            self,
            port=(1, 65_535),
            max_megabytes=(0.01, 4000),
            max_seconds=(0.1, 3600),
            concurrency=(1, 64),
            waiting=(0, 10_000),
            job_seconds=(0.01, 3600),
            upload_seconds=(0.01, 3600),
            uploads=(1, 1000),
            per_minute=(1, 100_000),
            keep_minutes=(0.001, 1440),
            sounds=(1, 10_000),
            storage_megabytes=(1, 1_000_000),
        )
        needed = (self.max_bytes + self.sound_bytes) / 1e6
        require(
            self.storage_megabytes >= needed,
            f"storage_megabytes is {self.storage_megabytes:g}; expected {needed:.0f}, which one "
            "sound may need, or more, or smaller max_megabytes or max_seconds",
        )

    @property
    def max_bytes(self) -> int:
        """Of an upload."""
        return round(self.max_megabytes * 1e6)

    @property
    def sound_bytes(self) -> int:
        """Of the longest sound, as it is kept."""
        return room_of(round(self.max_seconds * RATE) * CHANNELS)

    @property
    def limits(self) -> Limits:
        """What an uploaded sound may be."""
        return Limits(max_seconds=self.max_seconds, max_channels=CHANNELS)


def room_of(samples: int) -> int:
    """Return the bytes that a sound of so many samples takes, with its picture, at most."""
    return samples * SAMPLE_BYTES + HEADER_BYTES + PICTURE_BYTES
