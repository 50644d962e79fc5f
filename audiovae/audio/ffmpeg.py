"""The decoder of M4A and AAC, through PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from audiovae.audio.decode import AudioInfo, Decoder, truncated, words_of
from audiovae.audio.sniff import EXPECTED
from audiovae.errors import AudioError

AAC_PREROLL = 0.5
"""Seconds decoded before a range, after which AAC no longer depends on what came before."""
FORMATS = {"M4A": "mov", "AAC": "aac"}
"""FFmpeg's names of formats."""
AAC_FRAME = 2048
"""Most samples in an AAC frame: a last one may be missing without a cut."""


class FFmpegDecoder(Decoder):
    """M4A and AAC through PyAV, which the extra `codecs` brings."""

    def __init__(self, path: Path, kind: str) -> None:
        try:
            import av
        except ImportError:
            raise AudioError(
                f"{path} is {kind}, which needs PyAV: pip install 'audiovae[codecs]'"
            ) from None
        self.av: Any = av
        self.container: Any = None
        try:
            # The file and not its name, which FFmpeg could take for an address; and the format that
            # its first bytes are of, so that nothing else is tried on it.
            self.file = open(path, "rb")  # noqa: SIM115
            self.container = av.open(self.file, format=FORMATS[kind])
            if not self.container.streams.audio:
                raise AudioError(f"{path} holds no sound, only other streams; {EXPECTED}")
            self.stream: Any = self.container.streams.audio[0]
            self.indexed = kind == "M4A"
            if self.stream.codec_context is None:
                raise ValueError("a codec that FFmpeg doesn't know")
            rate, channels = self.stream.codec_context.sample_rate, self.stream.channels
            if rate < 1 or channels < 1:
                raise ValueError("no rate, or no channels")
            self.info = AudioInfo(path, self._count(rate), rate, channels, kind)
            self.seek(0)
        except (av.FFmpegError, ValueError, ArithmeticError) as error:
            self.close()
            if isinstance(error, AudioError):
                raise
            raise truncated(path, f"it begins as {kind}, but can't be decoded") from None

    def _count(self, rate: int) -> int:
        """Return the frames: an MP4 file's header knows them, bare AAC has to be walked through."""
        if self.indexed and self.stream.duration is not None:
            return round(self.stream.duration * self.stream.time_base * rate)
        packets = self.container.demux(self.stream)
        length = sum(packet.duration or 0 for packet in packets)
        return round(length * self.stream.time_base * rate)

    def seek(self, frame: int) -> None:
        """Go to a frame of the file."""
        rate = self.info.sample_rate
        # Bare AAC has no index: FFmpeg would guess places from the bit rate.
        early = max(0, frame - round(AAC_PREROLL * rate)) if self.indexed else 0
        try:
            place = round(early / rate / self.stream.time_base)
            self.container.seek(place, stream=self.stream)
        except (self.av.FFmpegError, ArithmeticError):
            raise truncated(self.info.path, f"frame {frame} can't be reached") from None
        self.position = frame
        self._blocks = self._decode()
        self._held = np.zeros((self.info.channels, 0), np.float32)

    def _decode(self) -> Iterator[np.ndarray]:
        """Give decoded blocks `(channels, n)` from `position` on."""
        rate, wanted = self.info.sample_rate, self.position
        # One plane of all channels: of several PyAV finds the end by an empty pointer, which frames
        # of 8 channels and more don't have, and reads on.
        packed = self.av.AudioResampler(format="flt", rate=rate)
        for frame in self.container.decode(self.stream):
            start = round((frame.pts or 0) * frame.time_base * rate)
            frame.pts = None
            for block in packed.resample(frame):
                audio = block.to_ndarray().reshape(block.samples, -1).T
                yield audio[:, max(0, wanted - start) :]
                start += audio.shape[1]

    def _read(self, frames: int) -> np.ndarray:
        parts, count = [self._held], self._held.shape[1]
        try:
            while count < frames:
                block = next(self._blocks, None)
                if block is None:
                    break
                parts.append(block)
                count += block.shape[1]
        except (self.av.FFmpegError, ValueError, ArithmeticError) as error:
            # Also where the number of channels changes on the way.
            raise truncated(self.info.path, f"decoding fails ({words_of(error)})") from None
        audio = np.concatenate(parts, axis=1)
        self._held = audio[:, frames:]
        missing = frames - audio.shape[1]
        at_end = self.position + frames == self.info.frames
        if 0 < missing <= AAC_FRAME and at_end:
            audio = np.pad(audio, ((0, 0), (0, missing)))
        return audio[:, :frames]

    def close(self) -> None:
        """Close the file."""
        if self.container is not None:
            self.container.close()
        self.file.close()
