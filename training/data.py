"""The training data on one device: mel spectrograms and lip landmarks, and batches out of them.

The folder holds index.json (`clips`: name, frame, n, mel, mel_n, mel_lead, split, group, cluster, and fps where it is not 25)
and mel_lips.npz, or mel.npy and lips.npy as `koubo dataset` writes them (mel: rows of 80 bands, 80 rows a second, 0..63; lips:
40 points, half pixels of an upright crop of the face; uint8 or float).
"""
import json
import math
import os

import numpy as np
import torch

from network import COLUMNS

OFFSET_S = 0.045 - COLUMNS / 160  # of the window's begin: its middle lies 45 ms after the frame, for mouths move before they sound
FPS, MEL_RATE, BANDS, SIZE = 25.0, 80.0, 80, 128


def read_arrays(folder):
    path = os.path.join(folder, 'mel_lips.npz')
    if os.path.exists(path):
        return np.load(path)
    return {name: np.load(os.path.join(folder, f'{name}.npy')) for name in ('mel', 'lips')}


class Dataset:
    """What a folder holds, on a device. `train` and `val` are lists of clips; no clip and no known person is in both."""

    def __init__(self, folder, device='cpu', max_clips=0, columns=COLUMNS, offset_s=OFFSET_S):
        with open(os.path.join(folder, 'index.json'), encoding='utf-8') as f:
            clips = json.load(f)['clips']
        self.train = [c for c in clips if c['split'] == 'train']
        self.val = [c for c in clips if c['split'] == 'val']
        if max_clips:  # evenly out of all, for tests
            self.train, self.val = (s[::max(1, len(s) // max_clips)][:max_clips] for s in (self.train, self.val))
        check_split(self.train, self.val)
        if not self.train or not self.val:
            raise SystemExit(f'{folder} has {len(self.train)} clips to train on and {len(self.val)} to check with; it takes both')
        last = max(c['frame'] + c['n'] for c in self.train + self.val)
        arrays = read_arrays(folder)
        self.device, self.columns, self.offset_s = device, columns, offset_s
        self.mel = torch.from_numpy(arrays['mel']).to(device)
        self.lips = torch.from_numpy(arrays['lips'][:last]).to(device)
        self.table = self.make_table(self.train)

    def make_table(self, clips):
        """One row a frame: itself, its clip's first frame, n, mel, mel_n; and apart mel_lead and the seconds of a frame."""
        rows = np.concatenate([np.stack([np.arange(c['frame'], c['frame'] + c['n'])] + [
            np.full(c['n'], c[k]) for k in ('frame', 'n', 'mel', 'mel_n')], 1) for c in clips])
        times = np.concatenate([np.tile(np.float32([c['mel_lead'], 1 / c.get('fps', FPS)]), (c['n'], 1)) for c in clips])
        return torch.from_numpy(rows).long().to(self.device), torch.from_numpy(times).to(self.device)

    def move_clips(self, columns):
        """Let the speech of each training clip begin so many columns later than the folder says."""
        for_frame = np.repeat(columns, [c['n'] for c in self.train]).astype(np.float32)
        self.table[1][:, 0] = self.make_table(self.train)[1][:, 0] + torch.from_numpy(for_frame).to(self.device)

    def mel_starts(self, rows, times, late=0.0):
        """Where the window of each row's frame begins, moved by `late` frames: a column of its clip, maybe outside."""
        t = ((rows[:, 0] - rows[:, 1]).float() + late) * times[:, 1]
        return torch.round(times[:, 0] + MEL_RATE * (t + self.offset_s)).long()

    def mel_columns(self, rows, start, n):
        """(len(rows), 1, 80, n) from column start of each row's clip on; outside the clip its end is repeated."""
        column = start[:, None] + torch.arange(n, device=rows.device)
        column = torch.minimum(column.clamp(min=0), rows[:, 4:5] - 1) + rows[:, 3:4]
        return (self.mel[column].float() * (8 / 63) - 4).transpose(1, 2)[:, None]

    def mel_windows(self, rows, times, late=0.0):
        """(n, 1, 80, columns)"""
        return self.mel_columns(rows, self.mel_starts(rows, times, late), self.columns)

    def speech_batch(self, n, length, generator):
        """n stretches of up to `length` frames: (mel (n, 1, 80, columns of all), at (n, length): which
        second column the window of a frame begins at, lips (n, length, 40, 2), there (n, length): 0 where the clip is
        shorter)."""
        rows, times = self.table
        pick = torch.randint(len(rows), (n,), generator=generator).to(self.device)
        rows, times = rows[pick], times[pick]
        first = rows[:, 1] + (rows[:, 0] - rows[:, 1]) % (rows[:, 2] - length + 1).clamp(min=1)
        frame = first[:, None] + torch.arange(length, device=self.device)
        there = frame < rows[:, 1:2] + rows[:, 2:3]
        frame = torch.minimum(frame, rows[:, 1:2] + rows[:, 2:3] - 1)
        every = rows.repeat_interleave(length, 0)
        every[:, 0] = frame.flatten()
        starts = self.mel_starts(every, times.repeat_interleave(length, 0)).view(n, length)
        # Windows begin at even and at odd columns; a stretch begins at random at one of them.
        begin = starts[:, 0] - torch.randint(2, (n,), generator=generator).to(self.device)
        at = (starts - begin[:, None]) // 2
        mel = self.mel_columns(rows, begin, self.columns + 2 * int(at.max()))
        return mel, at, self.landmarks(frame), there.float()

    def landmarks(self, index):
        """(..., 40, 2): fractions of the side."""
        return self.lips[index].float() / (2 * SIZE)


def check_split(train, val):
    """No clip and no cluster of look-alikes on both sides."""
    for key in ('name', 'cluster'):
        both = {c[key] for c in train if c[key] != -1} & {c[key] for c in val if c[key] != -1}
        # Clusters number the people of one group only.
        both = {b for b in both if key == 'name' or
                {c['group'] for c in train if c[key] == b} & {c['group'] for c in val if c[key] == b}}
        if both:
            raise SystemExit(f'the split leaks: {key} {sorted(both)[:5]} is in train and in val')


def augment_mel(mel, generator):
    """Another voice (half of the time bands moved by up to three), loudness (20 dB are 1.6 in these units), a tilt over the
    bands, noise; half of the time some bands are missing."""
    n, device = len(mel), mel.device

    def uniform(low, high, *shape):
        return torch.rand(n, *shape, generator=generator) * (high - low) + low

    draw = torch.randn(n, 2, 1, 1, generator=generator)
    bands = torch.linspace(-1, 1, BANDS)[:, None]
    lift = 0.5 * draw[:, :1] + 0.2 * draw[:, 1:] * bands
    moved = (uniform(-3.5, 3.5).round() * (uniform(0, 1) < 0.5)).long()
    source = (torch.arange(BANDS) + moved[:, None]).clamp(0, BANDS - 1)
    first, wide = uniform(0, 70, 1), uniform(1, 12, 1) * (uniform(0, 1, 1) < 0.5)
    missing = (torch.arange(BANDS) >= first) & (torch.arange(BANDS) < first + wide)
    lift, source, missing = (x.to(device) for x in (lift, source, missing))
    out = mel.gather(2, source[:, None, :, None].expand(-1, 1, -1, mel.shape[3]))
    out = torch.where(missing[:, None, :, None], out.mean(dim=(2, 3), keepdim=True), out) + lift
    return (out + 0.15 * torch.randn(out.shape, generator=generator).to(device)).clamp(-4, 4)


def mirror_order():
    """The 40 points as a mirrored face numbers them: two rings that begin at a corner of the mouth, 10 points below
    from corner to corner, then back above."""
    ring = [10 - i for i in range(11)] + [10 + 20 - i for i in range(11, 20)]
    return ring + [20 + i for i in ring]


def aperture(lips):
    """(..., 40, 2) landmarks to how far the mouth is open: the mean height of the nine opposite pairs of the inner lip, as
    `koubo eval` has it, but in sides of the (upright) crop."""
    below, above = torch.arange(21, 30), torch.arange(39, 30, -1)
    return (lips[..., below, 1] - lips[..., above, 1]).mean(-1)


def correlation(a, b):
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (math.sqrt(float((a * a).sum() * (b * b).sum())) + 1e-9))


def best_lag(truth, test, limit=5, least=12):
    """(correlation, lag in frames, > 0: test is late) where test follows truth best, as `koubo eval` has it."""
    n, found = len(truth), []
    for lag in sorted(range(-limit, limit + 1), key=abs):
        a, b = truth[max(0, -lag):n - max(0, lag)], test[max(0, lag):n - max(0, -lag)]
        if len(a) >= least and a.std() > 0 and b.std() > 0:
            found.append((correlation(a, b), lag))
    return max(found, key=lambda x: x[0], default=(0.0, 0))
