"""What lips do for speech sounds: from the classes of sounds in time to displacements of lips and chin.

Linear in what is spoken around the moment: how much of each stretch of time before and behind it (EDGES) each class of sound takes,
learnt by ridge regression; neighbours thus shape each other (coarticulation). What a mean cannot have is put on top: lips that
close for p, b and m close wholly, and lips never pass through each other.

Motion is (frames, 41, 2) as in the dataset: lips in the track's order, then the chin, from a closed mouth, in canonical units.
"""
import numpy as np

from phonemes import CLASSES, VOWELS

# Seconds around the moment; fine near it.
EDGES = np.array([-0.36, -0.24, -0.16, -0.10, -0.06, -0.02, 0.02, 0.06, 0.10, 0.16, 0.24, 0.36])
POINTS = 41
RIDGE = 10.0
SLACK = 0.02       # seconds: a closure is held so much longer at both ends, so that 25 frames a second see it
SPEED = 1.0        # canonical units a second: lips part at most so fast from a closure
FLOOR = 0.7        # of a vowel's mean opening: what it has at least
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
    kinds = [CLASSES.index(s.kind) for s in sounds]
    spent[kinds, np.arange(1, len(knots))] = np.diff(knots)
    spent = spent.cumsum(1)

    def until(t):
        inside = t.clip(knots[0], knots[-1])
        columns = np.stack([np.interp(inside, knots, row) for row in spent], 1)
        columns[:, 0] += t - inside
        return columns

    sums = [until(times + e) for e in edges]
    return np.concatenate([(b - a) / (late - early) for a, b, early, late in zip(sums, sums[1:], edges, edges[1:])], 1)


class Lips:
    """weights: (classes * stretches, 82), as `fit` finds them; what silence does is taken off when they are used."""

    def __init__(self, weights, gain, direction, least=None):
        self.weights, self.gain, self.direction, self.least = weights, gain, direction, least or {}
        silence = np.zeros((len(EDGES) - 1, len(CLASSES)))
        silence[:, 0] = 1
        self.silence = silence.reshape(-1) @ weights

    def linear(self, sounds, times):
        told = (inputs(sounds, times) @ self.weights - self.silence).reshape(-1, POINTS, 2)
        return self.gain * (told + mirrored(told)) / 2

    def tell(self, sounds, times):
        """(len(times), 41, 2)"""
        told = self.linear(sounds, times)
        own = opening(told)
        wanted = np.minimum(np.maximum(own, floor(sounds, times, self.least)), ceiling(sounds, times))
        return told + (wanted - own)[:, None, None] * self.direction


def floor(sounds, times, least):
    """(len(times),): how far the mouth is open at least, in the middle of vowels. A straight line goes on where no vowel of the clips
    was as long, and would close the mouth for a long u; least: {class: opening}."""
    most = np.zeros(len(times))
    for s in sounds:
        if s.kind in least:
            inside = np.minimum(times - s.begin, s.end - times)
            most = np.maximum(most, np.minimum(least[s.kind], SPEED * (inside - SLACK)))
    return most


def middles(clips, scale):
    """{class of vowel: FLOOR of its mean opening in its middle}"""
    seen = {}
    for c in clips:
        own = opening(c.motion) * scale[c.who]
        for s in c.sounds:
            if s.kind in VOWELS and s.end > s.begin:
                seen.setdefault(s.kind, []).append(np.interp((s.begin + s.end) / 2, c.times, own))
    return {kind: FLOOR * float(np.mean(values)) for kind, values in sorted(seen.items())}


def ceiling(sounds, times):
    """(len(times),): how far lips that close for p, b and m can be open."""
    least = np.full(len(times), np.inf)
    for s in sounds:
        if s.kind == 'P':
            away = np.maximum(np.maximum(s.begin - SLACK - times, times - s.end), 0)
            least = np.minimum(least, SPEED * away)
    return least


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
    open_by = opening(true) - opening(true).mean()
    direction = ((true - true.mean(0)) * open_by[:, None, None]).sum(0)
    # A mean is lazier than those it is the mean of.
    return Lips(weights, opening(true).std() / opening(told).std(), direction / opening(direction),
                middles(clips, {w: wanted / s for w, s in spread.items()}))


def measure(lips, clips):
    """Correlations of opening and width with the true ones at lag 0, and the ratio of the openings' spreads; means over clips."""
    rows = []
    for c in clips:
        told = lips.tell(c.sounds, c.times)
        rows.append([np.corrcoef(opening(told), opening(c.motion))[0, 1], np.corrcoef(width(told), width(c.motion))[0, 1],
                     opening(told).std() / opening(c.motion).std()])
    return dict(zip(('opening', 'width', 'amplitude'), np.mean(rows, 0)))
