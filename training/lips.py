"""What lips do for speech sounds: from the classes of sounds in time to displacements of lips and chin.

Linear in what is spoken around the moment: how much of each stretch of time before and behind it (EDGES) each class of sound takes,
learnt by ridge regression; neighbours thus shape each other (coarticulation). What a mean cannot have is put on top: lips that
close for p, b and m close wholly, and lips never pass through each other.

Motion is (frames, 41, 2) as in the dataset: lips in the track's order, then the chin, from a closed mouth, in canonical units.
"""
import numpy as np

from phonemes import CLASSES, VOWELS, shares

# Seconds around the moment; fine near it.
EDGES = np.array([-0.36, -0.24, -0.16, -0.10, -0.06, -0.02, 0.02, 0.06, 0.10, 0.16, 0.24, 0.36])
POINTS = 41
RIDGE = 10.0
SLACK = 0.02       # seconds: a closure is held so much longer at both ends, so that 25 frames a second see it
SPEED = 1.0        # canonical units a second: lips part at most so fast from a closure
RANGE = 0.75       # deviations from a vowel's mean that it may be away in its middle
MIRROR = [10 - k for k in range(11)] + [30 - k for k in range(11, 20)] + [30 - k for k in range(11)] + [50 - k for k in range(11, 20)] + [40]


def opening(motion):
    """(…,) of (…, 41, 2): the mean of the nine gaps between the inner lips."""
    upper, lower = np.arange(21, 30), np.arange(39, 30, -1)
    return (motion[..., lower, 1] - motion[..., upper, 1]).mean(-1)


def width(motion):
    """(…,): how much wider than at rest."""
    return motion[..., 30, 0] - motion[..., 20, 0]


def mirrored(motion):
    return motion[..., MIRROR, :] * [-1, 1]


def inputs(sounds, times, edges=EDGES):
    """(len(times), classes * (len(edges) - 1)): the part that each class takes of each stretch around the times (seconds). Before
    and behind the sounds it is silent."""
    knots = np.array([sounds[0].begin] + [s.end for s in sounds])
    knots = np.maximum.accumulate(knots) + np.arange(len(knots)) * 1e-9
    spent = np.zeros((len(CLASSES), len(knots)))
    for i, s in enumerate(sounds):
        for kind, part in shares(s.kind).items():
            spent[CLASSES.index(kind), i + 1] = part * (knots[i + 1] - knots[i])
    spent = spent.cumsum(1)

    def until(t):
        inside = t.clip(knots[0], knots[-1])
        columns = np.stack([np.interp(inside, knots, row) for row in spent], 1)
        columns[:, 0] += t - inside
        return columns

    sums = [until(times + e) for e in edges]
    return np.concatenate([(b - a) / (late - early) for a, b, early, late in zip(sums, sums[1:], edges, edges[1:])], 1)


class Lips:
    """weights: (classes * stretches, 82), as `fit` finds them; what silence does is taken off when they are used. opens, widens:
    (41, 2), how the points move when opening or width grow by 1. ranges: {class of vowel: ((least, most opening), (least, most width))}."""

    def __init__(self, weights, gain, opens, widens, ranges):
        self.weights, self.gain, self.opens, self.widens, self.ranges = weights, gain, opens, widens, ranges
        silence = np.zeros((len(EDGES) - 1, len(CLASSES)))
        silence[:, 0] = 1
        self.silence = silence.reshape(-1) @ weights

    def linear(self, sounds, times):
        told = (inputs(sounds, times) @ self.weights - self.silence).reshape(-1, POINTS, 2)
        return self.gain * (told + mirrored(told)) / 2

    def tell(self, sounds, times):
        """(len(times), 41, 2)"""
        told = self.linear(sounds, times)
        own, (least, most) = opening(told), self.corridor(sounds, times, 0)
        wanted = np.minimum(np.maximum(np.minimum(np.maximum(own, least), most), 0), ceiling(sounds, times))
        told = told + (wanted - own)[:, None, None] * self.opens
        own, (least, most) = width(told), self.corridor(sounds, times, 1)
        return told + (np.minimum(np.maximum(own, least), most) - own)[:, None, None] * self.widens

    def corridor(self, sounds, times, which):
        """(least, most), each (len(times),): what vowels allow in their middle half, and ever more away from it. A straight line goes on
        where the clips have no such neighbours and no vowel as long, and would close the mouth for a long u."""
        least, most = np.full(len(times), -np.inf), np.full(len(times), np.inf)
        for s in sounds:
            if s.kind not in VOWELS:
                continue
            quarter = (s.end - s.begin) / 4
            away = SPEED * np.maximum(np.maximum(s.begin + quarter - times, times - s.end + quarter), 0)
            low, high = (sum(part * self.ranges[kind][which][k] for kind, part in shares(s.kind).items()) for k in (0, 1))
            least, most = np.maximum(least, low - away), np.minimum(most, high + away)
        return least, most


def vowel_ranges(clips, scale):
    """{class: ((least, most opening), (least, most width))} in the middle of vowels: the mean and RANGE deviations around it."""
    seen = {kind: [] for kind in CLASSES if kind in VOWELS}
    for c in clips:
        curves = [of(c.motion) * scale[c.who] for of in (opening, width)]
        for s in c.sounds:
            if s.kind in seen:
                seen[s.kind].append([np.interp((s.begin + s.end) / 2, c.times, curve) for curve in curves])
    found = {}
    for kind, values in seen.items():
        mean, away = (of(np.array(values or [[0.02, 0.0]] * 2), axis=0) for of in (np.mean, np.std))
        low, high = mean - RANGE * away, mean + RANGE * away
        most = np.inf if kind == 'A' else high[0]  # the longer an a, the wider open
        found[kind] = ((max(low[0], 0.3 * mean[0]), most), (low[1], high[1]))
    return found


def ceiling(sounds, times):
    """(len(times),): how far lips that close for p, b and m can be open."""
    least = np.full(len(times), np.inf)
    for s in sounds:
        if s.kind == 'P':
            away = np.maximum(np.maximum(s.begin - SLACK - times, times - s.end), 0)
            least = np.minimum(least, SPEED * away)
    return least


def along(motion, curve):
    """(41, 2): how the points move when the curve grows by 1."""
    curve = curve - curve.mean()
    return ((motion - motion.mean(0)) * curve[:, None, None]).sum(0) / (curve ** 2).sum()


def fit(clips, ridge=RIDGE, edges=EDGES):
    """Lips from clips with `sounds`, `times`, `motion` and `who`. Each talker's opening is brought to the same spread (the mean of
    theirs), and counts as the root of how much there is of it: else one who speaks much and hardly moves decides alone."""
    spread = {w: np.mean([opening(c.motion).std() for c in clips if c.who == w]) for w in sorted({c.who for c in clips})}
    frames = {w: sum(len(c.motion) for c in clips if c.who == w) for w in spread}
    least, wanted = min(frames.values()), np.mean(list(spread.values()))
    squares, both, told, true = 0, 0, [], []
    for c in clips:
        x, y = inputs(c.sounds, c.times, edges), (c.motion * (wanted / spread[c.who])).reshape(len(c.motion), -1)
        weight = np.sqrt(least / frames[c.who])
        squares, both = squares + weight * x.T @ x, both + weight * x.T @ y
        told.append(x)
        true.append(y)
    weights = np.linalg.solve(squares + ridge * np.eye(len(squares)), both)
    told, true = np.concatenate(told) @ weights, np.concatenate(true)
    told, true = (y.reshape(-1, POINTS, 2) for y in (told, true))
    true = (true + mirrored(true)) / 2
    opens, widens = along(true, opening(true)), along(true, width(true))
    widens = widens - opening(widens) * opens
    # A mean is lazier than those it is the mean of: half of that is made good.
    gain = (1 + opening(true).std() / opening(told).std()) / 2
    return Lips(weights, gain, opens, widens / width(widens), vowel_ranges(clips, {w: wanted / s for w, s in spread.items()}))


def measure(lips, clips):
    """Correlations of opening and width with the true ones at lag 0, and the ratio of the openings' spreads; means over clips."""
    rows = []
    for c in clips:
        told = lips.tell(c.sounds, c.times)
        rows.append([np.corrcoef(opening(told), opening(c.motion))[0, 1], np.corrcoef(width(told), width(c.motion))[0, 1],
                     opening(told).std() / opening(c.motion).std()])
    return dict(zip(('opening', 'width', 'amplitude'), np.mean(rows, 0)))
