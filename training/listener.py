"""What lips do to a speech: a network over the mel, taught on motion.

A convolution over all bands, then residual blocks over time, dilated, so that a sample knows SPAN of them on both sides; what they tell is
in a basis of lip shapes (principal components of the training motion), which a last convolution turns into points.

Sound and picture of clips out of many hands lie up to some frames apart, each its own way. While it learns, each clip is moved to where
the listener, so far, finds that it fits best (a running mean over the times it was seen); clips of a trusted group stay.
"""
import json
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from data import BANDS, POINTS, RATE, TRACK_POINTS, Batch, at, augment_mel, opening, width
from evaluate import curve_at
from network import GraphBuilder, Network, of_arrays, write_safetensors

WIDTH, BLOCKS, SHAPES = 256, 3, 16
STEM = 6                 # columns that the first convolution sees, 12.5 ms each; it strides over two
KERNEL = 3               # of the blocks' convolutions, in samples; the first of each block is dilated by 1, 2, 4, 1, 2, 4, ...
FAR = 5                  # frames that a clip may be moved
LENGTH = 32              # frames of a stretch
DOUBT = 0.015            # of correlation, for each frame squared that a clip would be moved: a chance maximum far away is likelier
SETTLE = 0.15            # of the training, before clips are moved
CORRELATION = 0.3        # what following an opening weighs beside the size of the error
SPEED = 0.1              # how much faster or slower a stretch may be made
SILENT = 0.03            # of what is trained on
EDGE = 2 + 2 * FAR       # samples before and behind a stretch: as far as a clip may be moved
AVERAGE = 0.004          # of a step in the running mean of the weights, which is what is kept
STRETCH = 256            # samples in one run of the exported network


def dilations():
    return [2 ** (i % 3) for i in range(BLOCKS)]


SPAN = sum(d + 1 for d in dilations()) * (KERNEL // 2)
MARGIN = SPAN + 2  # samples at both ends of a run that the padding reaches; the stem sees one column more than it strides on each side


def graph(width=WIDTH):
    """From mel (n, 80, 1, columns) to motion (n, 82, 1, columns / 2)."""
    b = GraphBuilder()
    source = b.conv('mel', 'stem', BANDS, width, (1, STEM), (1, 2), (0, STEM // 2 - 1))
    for i, d in enumerate(dilations()):
        inner = b.conv(source, f'block.{i}.inner', width, width, (1, KERNEL), padding=(0, d), dilation=(1, d))
        source = b.conv(inner, f'block.{i}', width, width, (1, KERNEL), padding=(0, 1), add=source)
    b.conv(source, 'shapes', width, SHAPES, (1, 1), relu=False)
    b.conv('shapes', 'motion', SHAPES, 2 * POINTS, (1, 1), relu=False)
    return b.ops, b.shapes


class Listener(nn.Module):
    def __init__(self, basis, width=WIDTH, drop=0.2):
        """basis: (SHAPES, 82), the shapes."""
        super().__init__()
        self.network = Network(*graph(width), drop=drop)
        last = self.network.convs['motion'].requires_grad_(False)
        with torch.no_grad():
            last.weight.copy_(basis.T[:, :, None, None])
            last.bias.zero_()

    def forward(self, mel):
        """(n, 80, columns) to (n, columns / 2, 82)."""
        return self.network(mel=mel[:, :, None])[:, :, 0].transpose(1, 2)


def shapes_of(clips):
    """(SHAPES, 82): the principal components of the motion, each as large as it is on the average."""
    rows = torch.cat([c.motion - c.motion.mean(0) for c in clips]).flatten(1)
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    values, vectors = values.flip(0)[:SHAPES], vectors.flip(1)[:, :SHAPES]
    return (vectors * values.clamp(min=1e-10).sqrt()).T


def centred(x, there):
    """Less the mean over the frames (dimension 1) that are there; 0 where they are not."""
    there = there.view(*there.shape, *[1] * (x.dim() - 2))
    return (x - (x * there).sum(1, keepdim=True) / there.sum(1, keepdim=True)) * there


def correlations(a, b, there):
    a, b = centred(a, there), centred(b, there)
    return (a * b).sum(1) / ((a * a).sum(1) * (b * b).sum(1) + 1e-9).sqrt()


class Lags:
    """How late the speech of each clip is, in frames, as the listener finds: fits[i] at each of the shifts, a running mean."""

    SHIFTS = np.arange(-2 * FAR, 2 * FAR + 1) / 2
    KEEP = 0.75

    def __init__(self, clips, trusted):
        self.trusted = np.array([c.group in trusted for c in clips])
        self.fits = np.full((len(clips), len(self.SHIFTS)), np.nan)

    def of(self, i):
        """In frames."""
        if self.trusted[i] or np.isnan(self.fits[i, 0]):
            return 0.0
        return self.SHIFTS[int((self.fits[i] - DOUBT * self.SHIFTS ** 2).argmax())]

    def state_dict(self):
        return {'fits': self.fits}

    def load_state_dict(self, state):
        self.fits = state['fits']

    def see(self, i, moved, fits):
        """fits: at every shift from where the clip, moved so far, stands now."""
        fits = np.interp(self.SHIFTS, np.clip(self.SHIFTS + moved, -FAR, FAR), fits)
        self.fits[i] = fits if np.isnan(self.fits[i, 0]) else self.KEEP * self.fits[i] + (1 - self.KEEP) * fits


def losses_of(told, batch, unit):
    """What training makes small: told (n, frames, 82); unit (82, SHAPES) takes motion to shapes of about one size."""
    seen, there = batch.motion.flatten(2), batch.there

    def size(x, there):
        return ((x @ unit).abs().mean(2) * there).sum() / there.sum()
    steps = (told - seen)[:, 1:] - (told - seen)[:, :-1]
    points = told.unflatten(2, (POINTS, 2))
    follows = correlations(opening(points), opening(batch.motion), there)
    widens = correlations(width(points), width(batch.motion), there)
    return {'shape': size(centred(told, there) - centred(seen, there), there), 'place': size(told - seen, there),
            'speed': size(steps, there[:, 1:]), 'follows': follows.mean(), 'widens': widens.mean()}


def loss_of(parts):
    return (parts['shape'] + 0.3 * parts['place'] + 0.5 * parts['speed'] + CORRELATION * (1 - parts['follows'] + 0.5 * (1 - parts['widens'])))



@torch.no_grad()
def fits_of(told, batch):
    """(n, shifts): how well the opening told follows the one seen where the speech is moved by each of the shifts."""
    heard = opening(told.unflatten(2, (POINTS, 2)))[..., None]
    frame = 1.6  # samples
    return torch.stack([correlations(at(heard, batch.place + float(s) * frame)[..., 0], opening(batch.motion), batch.there)
                        for s in Lags.SHIFTS], 1).numpy()


def teach(run, clips, check, trusted, seed):
    """A Listener, taught on stretches of clips with their voice changed; run.loop says how long. check(listener) gives figures for
    the log."""
    torch.manual_seed(seed)
    basis = shapes_of(clips)
    clips = clips + [silence()]
    net, lags = Listener(basis, run.args.width), Lags(clips, [*trusted, 'silence'])
    mean = AveragedModel(net, avg_fn=lambda old, new, n: old + (new - old) * max(AVERAGE, 1 / (float(n) + 1)), use_buffers=True)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], 2e-3, weight_decay=3e-2)
    # Of shapes that hardly ever occur more is wanted than the least squares of points would ask for.
    size = basis.norm(dim=1)
    unit = basis.T / size / (size ** 0.6 * size[0] ** 0.4)
    share = torch.tensor([float(max(1, round(c.n / LENGTH))) * run.args.weights.get(c.group, 1.0) for c in clips])
    share[-1] = SILENT * share[:-1].sum()

    def one_step(generator, done):
        picked = torch.multinomial(share, run.args.batch, replacement=True, generator=generator).tolist()
        moved = [lags.of(i) for i in picked]
        speed = (1 + SPEED * (2 * torch.rand(len(picked), generator=generator) - 1)).tolist()
        batch = Batch([stretch_of(clips[i], generator) for i in picked], [m * 3.2 for m in moved], EDGE, speed)
        told = net(augment_mel(batch.mel, generator, run.args.changed))
        seen = at(told, batch.place)
        parts = losses_of(seen, batch, unit)
        loss = loss_of(parts)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimizer.step()
        mean.update_parameters(net)
        if done > SETTLE:
            for i, m, fits in zip(picked, moved, fits_of(told.detach(), batch)):
                lags.see(i, m, fits)
        return parts

    net.train()
    run.loop(seed, {'listener': net, 'mean': mean, 'optimizer': optimizer, 'lags': lags}, one_step, lambda: check(mean.module))
    return mean.module.eval()


def silence():
    """A clip in which nobody speaks and the mouth stays closed; there is hardly any in the data."""
    motion = torch.zeros(LENGTH, POINTS, 2)
    return SimpleNamespace(name='silence', group='silence', n=LENGTH, lead=0.0, step=3.2, mel=torch.full((BANDS, 4 * LENGTH), -4.0), motion=motion)


def stretch_of(clip, generator):
    n = min(clip.n, LENGTH)
    return clip, int(torch.randint(clip.n - n + 1, (1,), generator=generator)), n


@torch.no_grad()
def hear(net, clips, late=None):
    """What the listener tells at each frame of each clip: a list of (n, 41, 2)."""
    was_training, told = net.training, []
    net.eval()
    for i in range(0, len(clips), 16):
        some = clips[i:i + 16]
        batch = Batch([(c, 0, c.n) for c in some], late[i:i + 16] if late is not None else [0.0] * len(some), MARGIN)
        motion = at(net(batch.mel), batch.place)
        told += [motion[k, :c.n].unflatten(1, (POINTS, 2)) for k, c in enumerate(some)]
    net.train(was_training)
    return told


# --- what is put behind it ---

CLOSED = 0.2   # part of the time in which a mouth is closed
KNEE = 0.03    # openings from here on stay as told; below, the curve is steep, so that lips that nearly close do


def curve_of(closed):
    """Knots (from, to) of what the opening becomes: 0 up to `closed`, itself from KNEE on."""
    return np.array([[closed, 0], [max(KNEE, 2 * closed), max(KNEE, 2 * closed)]])


def calibrate(nets, clips):
    """(gain, knots): with both the openings told spread as far as those seen (median of the clips), and a fifth of the time mouths are closed:
    the listener guesses between what may be, so it opens mouths too little and hardly ever closes them."""
    silence = np.mean([float(opening(silence_of(net.network).view(POINTS, 2))) for net in nets])
    openings = [(sum(opening(t) for t in told) / len(nets) - silence).numpy() for told in zip(*(hear(net, clips) for net in nets))]
    closed = max(float(np.quantile(np.concatenate(openings), CLOSED)), 0.0)
    gain = 1.0
    for _ in range(30):  # the curve is not linear, so the gain is looked for
        told = [curve_at(curve_of(gain * closed), gain * o) for o in openings]
        gain *= float(np.median([float(opening(c.motion).std()) / max(t.std(), 1e-6) for t, c in zip(told, clips)]))
        if not 0.05 < gain < 20:
            raise SystemExit(f'the openings told would have to be made {gain:.3g} times as large: nothing was learnt; more clips help, or more time')
    return gain, curve_of(gain * closed)


@torch.no_grad()
def silence_of(network):
    """What it says of silence."""
    return network(mel=torch.full((1, BANDS, 1, 8 * MARGIN), -4.0))[0, :, 0, 2 * MARGIN]


def opening_direction(clips):
    """(40, 2): how the lips move when the opening grows by 1."""
    motion = torch.cat([c.motion[:, :40] - c.motion[:, :40].mean(0) for c in clips])
    by = opening(motion)
    direction = (motion * by[:, None, None]).sum(0)
    return direction / opening(direction)


def joined(nets):
    """(operations, arrays) of one network that tells the mean of what several tell: they stand side by side, and each adds to the one before."""
    ops, arrays, before = [], {}, None
    for i, net in enumerate(nets):
        own = net.network.folded()
        for op in net.network.ops:
            def named(name):
                return name if name == 'mel' else f'{i}.{name}'
            is_last = op['output'] == 'motion'
            weight, bias = own[op['weight']], own[op['bias']]
            if is_last:  # of the points the lips only; what is told of silence is taken off later
                weight, bias = (weight[:80].astype(np.float32) / len(nets)).astype(np.float16), np.zeros(80, np.float32)
            op = {**op, **{k: named(op[k]) for k in ('input', 'output', 'weight', 'bias', 'add') if k in op}}
            if is_last and before:
                op['add'] = before
            ops.append(op)
            arrays[op['weight']], arrays[op['bias']] = weight, bias
        before = named('motion')
    ops[-1]['output'] = 'motion'
    return ops, arrays


def export(path, nets, gain, knots, direction, metadata):
    """The file that koubo runs, docs/models.md. The gain is in its last weights."""
    ops, arrays = joined(nets)
    for op in ops:
        if op['output'].endswith('motion'):
            arrays[op['weight']] = (arrays[op['weight']].astype(np.float32) * gain).astype(np.float16)
    arrays[ops[-1]['bias']] = -silence_of(of_arrays(ops, arrays)).numpy()
    columns = 2 * (STRETCH + 2 * MARGIN)
    write_safetensors(path, {**arrays, 'opening': direction.numpy().astype(np.float32)}, {
        'format': 'koubo-motion', 'version': '2', 'graph': json.dumps(ops), 'inputs': json.dumps({'mel': [-1, BANDS, 1, columns]}),
        'output': json.dumps({'motion': [-1, 80, 1, columns // 2]}), 'rate': f'{RATE:g}', 'margin': str(MARGIN),
        'mel_offset_s': f'{-MARGIN / RATE:.6g}', 'points': json.dumps(TRACK_POINTS), 'curve': json.dumps(np.round(knots, 5).tolist()),
        'gain': '1.0', **metadata})
