"""The linking of phases in real tensors: `PhaseMemory.link` in a form that exports.

All that looks at no other frame is done for all frames at once (`prepare`); what is carried from
frame to frame is one function of one frame (`link_frame`), for a loop or a scan over frames. Even
and odd bins lie apart, as in the loop of `audiovae.model.phases`: bin 2i + p is place i of part p.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.model.phases import LEAN, LEAST, MOST, SWEEPS, advance

Pair = tuple[Tensor, Tensor]


def split_parts(x: Tensor) -> Tensor:
    """Return `x (batch, frame, bin)` as `(frame, batch, part, place)`; a place may be nobody's."""
    batch, frames, bins = x.shape
    places = (bins + 1) // 2
    pairs = F.pad(x, (0, 2 * places - bins)).reshape(batch, frames, places, 2)
    return pairs.permute(1, 0, 3, 2)


def join_parts(x: Tensor, bins: int) -> Tensor:
    """Undo `split_parts`: `(frame, batch, part, place)` to `(batch, frame, bin)`."""
    frames, batch = x.shape[0], x.shape[1]
    return x.permute(1, 0, 3, 2).reshape(batch, frames, -1)[:, :, :bins]


def times(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return both parts of the product of two complex numbers."""
    return a * x - b * y, a * y + b * x


def shortened(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return an opinion of any length as one of length 0 to 1."""
    scale = 1.0 / torch.sqrt(x * x + y * y + 1.0)
    return x * scale, y * scale


def powers(real: Tensor, imaginary: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the powers 0 to `count - 1` of unit numbers `(…, 1)`, `(…, count)`, by doubling."""
    x, y = torch.ones_like(real), torch.zeros_like(real)
    known = 1
    while known < count:
        more_x, more_y = times(real, imaginary, x, y)
        x, y = torch.cat([x, more_x], -1), torch.cat([y, more_y], -1)
        real, imaginary = real * real - imaginary * imaginary, 2.0 * real * imaginary
        known = 2 * known
    return x[..., :count], y[..., :count]


def link_frame(
    x: Tensor,
    y: Tensor,
    base: Tensor,
    back: Tensor,
    low: Tensor,
    high: Tensor,
    sweeps: int = SWEEPS,
) -> tuple[Tensor, Tensor]:
    """Link one frame's phases.

    Args:
        x: real parts `(batch, part, place)` of the opinions of the frame before, of length 0 to 1.
        y: their imaginary parts.
        base: what holds where no difference is sure; this and the others are both parts of complex
            numbers, `(2, batch, part, place)`.
        back: what turns the opinion of the frame before into one about this frame.
        low: what turns the opinion of the bin below.
        high: and of the bin above.
        sweeps: passes over the bins.

    Returns:
        Both parts of this frame's opinions; their directions are its phases.
    """
    x, y = times(back[0], back[1], x, y)
    from_x, from_y = x + base[0], y + base[1]
    x, y = shortened(from_x, from_y)
    even_x, even_y, odd_x, odd_y = x[:, 0], y[:, 0], x[:, 1], y[:, 1]
    nobody = torch.zeros_like(even_x[:, :1])
    for _ in range(sweeps):
        under_x = torch.cat([nobody, odd_x[:, :-1]], 1)
        under_y = torch.cat([nobody, odd_y[:, :-1]], 1)
        a, b = times(low[0, :, 0], low[1, :, 0], under_x, under_y)
        c, d = times(high[0, :, 0], high[1, :, 0], odd_x, odd_y)
        even_x, even_y = shortened(from_x[:, 0] + a + c, from_y[:, 0] + b + d)
        over_x = torch.cat([even_x[:, 1:], nobody], 1)
        over_y = torch.cat([even_y[:, 1:], nobody], 1)
        a, b = times(low[0, :, 1], low[1, :, 1], even_x, even_y)
        c, d = times(high[0, :, 1], high[1, :, 1], over_x, over_y)
        odd_x, odd_y = shortened(from_x[:, 1] + a + c, from_y[:, 1] + b + d)
    return torch.stack([even_x, odd_x], 1), torch.stack([even_y, odd_y], 1)


def directions(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return an opinion as a unit number."""
    unit = 1.0 / (torch.sqrt(x * x + y * y) + 1e-6)
    return x * unit, y * unit


class Loop(nn.Module):
    """Frames one after another in a loop, which TorchScript compiles."""

    def forward(
        self, x: Tensor, y: Tensor, base: Tensor, back: Tensor, low: Tensor, high: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Link frames `(frame, 2, batch, part, place)` that follow opinions `x` and `y`.

        Returns both parts of the phases, without the 2, and the opinions after the last frame.
        """
        all_x: list[Tensor] = []
        all_y: list[Tensor] = []
        for t in range(base.shape[0]):
            x, y = link_frame(x, y, base[t], back[t], low[t], high[t])
            unit_x, unit_y = directions(x, y)
            all_x.append(unit_x)
            all_y.append(unit_y)
        return torch.stack(all_x), torch.stack(all_y), x, y


class Scan(nn.Module):
    """The same as an operation of its own, which torch.export and ONNX keep as one."""

    def forward(
        self, x: Tensor, y: Tensor, base: Tensor, back: Tensor, low: Tensor, high: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Link frames as `Loop` does."""
        from torch._higher_order_ops.scan import scan

        def step(before: Pair, now: tuple[Tensor, ...]) -> tuple[Pair, Pair]:
            x, y = link_frame(before[0], before[1], now[0], now[1], now[2], now[3])
            return (x, y), directions(x, y)

        after, made = scan(step, (x, y), (base, back, low, high))
        return made[0], made[1], after[0], after[1]


class Linker(nn.Module):
    """Phases of frames that follow a state, as unit numbers, and the state after them.

    Args:
        n_fft: samples in a window.
        hop_length: from one to the next.
        walk: `Loop()` or `Scan()`.
    """

    turn_x: Tensor
    turn_y: Tensor

    def __init__(self, n_fft: int, hop_length: int, walk: nn.Module) -> None:
        super().__init__()
        self.walk, self.bins = walk, n_fft // 2 + 1
        self.state_shape = [3, self.bins + self.bins % 2]
        """Of a row; at the beginning it is 0."""
        self.lean, self.least, self.most = LEAN, LEAST, MOST
        turn = advance(n_fft, hop_length)
        self.register_buffer("turn_x", turn.real.contiguous())
        self.register_buffer("turn_y", turn.imag.contiguous())

    def forward(
        self, links: Tensor, amplitude: Tensor, valid: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Link the frames of a piece.

        Args:
            links: `(batch, frame, 4, bin)`, as in `PhaseMemory.link`.
            amplitude: `(batch, frame, bin)`, of at least 0.
            valid: `(frame,)`, 1 or 0 for a frame of before the first.
            state: `(batch, 3, bin)`: opinions and roots of amplitudes of the frame before.

        Returns:
            Both parts of the phases `(batch, frame, bin)`, and the state after the last frame.
        """
        batch, bins = links.shape[0], self.bins
        roots = amplitude.clamp_min(self.least).sqrt()
        base, back, low, high = self.prepare(links, roots, valid, state[:, 2:, :bins])
        places = (bins + 1) // 2
        # A scan takes no views of one tensor: products are none.
        x = (state[:, 0].reshape(batch, places, 2) * 1.0).transpose(1, 2).contiguous()
        y = (state[:, 1].reshape(batch, places, 2) * 1.0).transpose(1, 2).contiguous()
        x, y, last_x, last_y = self.walk(x, y, base, back, low, high)
        opinions = torch.stack([last_x, last_y], 1).transpose(2, 3).reshape(batch, 2, 2 * places)
        last = F.pad(roots[:, -1:], (0, 2 * places - bins))
        return join_parts(x, bins), join_parts(y, bins), torch.cat([opinions, last], 1)

    def prepare(
        self, links: Tensor, roots: Tensor, valid: Tensor, before: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what `link_frame` takes, `(frame, 2, batch, part, place)` each."""
        most, quiet, there = self.most, 1.0 / roots, valid[None, :, None]
        time_x, time_y = links[:, :, 0], links[:, :, 1]
        step_x, step_y = links[:, :, 2, 1:], links[:, :, 3, 1:]
        # Phases of a click at the frame's mean group delay.
        loud = roots[:, :, 1:] * roots[:, :, :-1]
        mean_x = (loud * step_x).sum(2, keepdim=True) + 1e-12
        mean_y = (loud * step_y).sum(2, keepdim=True)
        sure = (loud * (step_x * step_x + step_y * step_y).sqrt()).sum(2, keepdim=True) + 1e-12
        length = (mean_x * mean_x + mean_y * mean_y).sqrt()
        agreed = self.lean * there * (length / sure) ** 2
        click_x, click_y = powers(mean_x / length, mean_y / length, self.bins)
        base_x = self.lean * there - agreed + agreed * click_x
        earlier = torch.cat([before, roots[:, :-1]], 1)
        weight = (earlier * quiet).clamp_max(most) * there
        back_x, back_y = times(time_x * weight, time_y * weight, self.turn_x, self.turn_y)
        rise = (roots[:, :, :-1] * quiet[:, :, 1:]).clamp_max(most)
        fall = (roots[:, :, 1:] * quiet[:, :, :-1]).clamp_max(most)
        pairs = [
            (base_x, agreed * click_y),
            (back_x, back_y),
            (F.pad(rise * step_x, (1, 0)), F.pad(rise * step_y, (1, 0))),
            (F.pad(fall * step_x, (0, 1)), F.pad(-fall * step_y, (0, 1))),
        ]
        made = [torch.stack([split_parts(x), split_parts(y)], 1).contiguous() for x, y in pairs]
        return made[0], made[1], made[2], made[3]
