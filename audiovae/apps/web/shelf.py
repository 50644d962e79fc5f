"""Where uploaded sounds and what was made of them lie: bounded in number, size and time."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from audiovae.apps.web.jobs import Busy
from audiovae.errors import UserError

SOURCE = "source.wav"
RUNS = 6
"""Of what was made of a sound, the last so many are kept."""
ARRIVING = 0
"""Number of the run that brings the sound itself."""


class Gone(Exception):
    """A sound is not there, or no longer."""


@dataclass(eq=False)
class Sound:
    """A sound and what was made of it."""

    name: str
    """Not to be guessed: who knows it may use it."""
    folder: Path
    room: dict[int, int] = field(default_factory=dict)
    """Bytes of each run: kept free while it goes on, then what its files take."""
    files: dict[tuple[str, str], Path] = field(default_factory=dict)
    """Run and name, as a browser asks for them, to the file."""
    used: float = 0.0
    """When it was used last."""
    running: set[int] = field(default_factory=set)
    """Runs that go on now."""
    dropped: bool = False
    runs: int = 0
    seconds: float = 0.0
    samples: int = 0
    """Of all channels."""

    @property
    def source(self) -> Path:
        """The sound itself."""
        return self.place(ARRIVING) / SOURCE

    @property
    def ended(self) -> list[int]:
        """Runs that were made of it, the oldest first."""
        return sorted(set(self.room) - self.running - {ARRIVING})

    def place(self, run: int) -> Path:
        """Return the folder of a run."""
        return self.folder / str(run)


class Shelf:
    """Keeps sounds in a folder; to be used from one thread.

    Args:
        folder: private, and empty.
        sounds: kept at most.
        size: bytes that they may take.
        seconds: that a sound is kept after its last use.
        clock: tells the time in seconds.
    """

    def __init__(
        self,
        folder: Path,
        sounds: int,
        size: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.most, self.size, self.seconds = folder, sounds, size, seconds
        self.clock = clock
        self.sounds: dict[str, Sound] = {}

    @property
    def taken(self) -> int:
        """Bytes in use or kept free."""
        return sum(sum(sound.room.values()) for sound in self.sounds.values())

    def add(self, size: int) -> Sound:
        """Make room for another sound, which is in use from now on.

        Raises `Busy` where there is none.
        """
        name = secrets.token_urlsafe(18)
        self._make_room(size, 1)
        sound = Sound(name, self.folder / name, {ARRIVING: size}, used=self.clock())
        sound.running.add(ARRIVING)
        sound.place(ARRIVING).mkdir(parents=True)
        self.sounds[name] = sound
        return sound

    def get(self, name: str) -> Sound:
        """Return a sound, which is used by that. Raises `Gone` where there is none."""
        self.sweep()
        sound = self.sounds.get(name)
        if sound is None or sound.dropped:
            raise Gone("this sound is no longer here: choose it again")
        sound.used = self.clock()
        return sound

    def begin(self, sound: Sound, size: int) -> int:
        """Begin a run that may need so many bytes, and return its number.

        Raises `Busy` where there is no room now, `UserError` where there can be none.
        """
        if size + sound.room[ARRIVING] > self.size:
            raise UserError(
                "this would take more room than the server has: choose fewer domains or a "
                "shorter sound"
            )
        while len(sound.ended) >= RUNS:
            self._free(sound, sound.ended[0])
        self._make_room(size, 0, sound)
        sound.place(sound.runs + 1).mkdir()
        sound.runs += 1
        sound.room[sound.runs] = size
        sound.running.add(sound.runs)
        return sound.runs

    def end(self, sound: Sound, run: int, files: dict[str, Path] | None) -> None:
        """End a run: these files of it can be asked for by name; without any, it has failed."""
        sound.running.discard(run)
        sound.used = self.clock()
        if files is None:
            self._free(sound, run)
        else:
            sound.files |= {(str(run), name): path for name, path in files.items()}
            sound.room[run] = sum(path.stat().st_size for path in files.values())
        if sound.dropped or (files is None and run == ARRIVING):
            self.drop(sound)

    def drop(self, sound: Sound) -> None:
        """Remove a sound and all that was made of it, as soon as nobody works on it."""
        sound.dropped = True
        if not sound.running and sound.name in self.sounds:
            del self.sounds[sound.name]
            shutil.rmtree(sound.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what was not used for long."""
        now = self.clock()
        for sound in list(self.sounds.values()):
            if not sound.running and now - sound.used > self.seconds:
                self.drop(sound)

    def _free(self, sound: Sound, run: int) -> None:
        sound.room.pop(run, None)
        sound.files = {key: path for key, path in sound.files.items() if key[0] != str(run)}
        with contextlib.suppress(OSError):
            shutil.rmtree(sound.place(run))

    def _make_room(self, size: int, sounds: int, kept: Sound | None = None) -> None:
        """Remove what was not used for longest, as far as another needs it. Raises `Busy`."""
        self.sweep()
        idle = [s for s in self.sounds.values() if not s.running and s is not kept]
        idle.sort(key=lambda s: s.used, reverse=True)
        old = [] if kept is None else kept.ended[::-1]
        free = self.size - self.taken + sum(sum(s.room.values()) for s in idle)
        free += sum(kept.room[run] for run in old) if kept else 0
        if size > free or len(self.sounds) - len(idle) + sounds > self.most:
            raise Busy("there is no room for more sounds now: try again a little later", 30)
        while self.taken + size > self.size or len(self.sounds) + sounds > self.most:
            if idle:
                self.drop(idle.pop())
            elif kept is not None:
                self._free(kept, old.pop())
