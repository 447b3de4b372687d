"""The training data on one device: face crops, mel spectrograms and lip landmarks, and batches out of them.

The folder holds faces.mp4 (all crops as one film), index.json (`clips`: name, frame, n, mel, mel_n, mel_lead, split,
group, cluster) and mel_lips.npz (mel: uint8 rows of 80 bands, 80 rows a second; lips: uint8, 40 points, half pixels).
"""
import json
import math
import os

import cv2
import numpy as np
import torch
from torch.nn import functional as F

FPS, MEL_RATE, BANDS, SIZE = 25.0, 80.0, 80, 128


def read_film(path, n):
    """(n, SIZE, SIZE, 3) uint8, RGB"""
    frames = np.empty((n, SIZE, SIZE, 3), np.uint8)
    film = cv2.VideoCapture(path)
    for i in range(n):
        ok, frame = film.read()
        if not ok or frame.shape[:2] != (SIZE, SIZE):
            raise SystemExit(f"{path}: frame {i} of {n} is missing or not {SIZE}x{SIZE}; is the file whole?")
        frames[i] = frame[:, :, ::-1]
    return frames


class Dataset:
    """What a folder holds, on a device. `train` and `val` are lists of clips; no person is in both."""

    def __init__(self, folder, device='cpu', max_clips=0, columns=32, offset_s=-0.18):
        with open(os.path.join(folder, 'index.json'), encoding='utf-8') as f:
            clips = json.load(f)['clips']
        self.train = [c for c in clips if c['split'] == 'train']
        self.val = [c for c in clips if c['split'] == 'val']
        if max_clips:  # evenly out of all, for tests
            self.train, self.val = (s[::max(1, len(s) // max_clips)][:max_clips] for s in (self.train, self.val))
        check_split(self.train, self.val)
        last = max(c['frame'] + c['n'] for c in self.train + self.val)
        arrays = np.load(os.path.join(folder, 'mel_lips.npz'))
        self.device, self.columns, self.offset_s = device, columns, offset_s
        self.frames = torch.from_numpy(read_film(os.path.join(folder, 'faces.mp4'), last)).to(device)
        self.mel = torch.from_numpy(arrays['mel']).to(device)
        self.lips = torch.from_numpy(arrays['lips'][:last]).to(device)
        self.table = self.make_table(self.train)

    def make_table(self, clips):
        """One row a frame: itself, its clip's first frame, n, mel, mel_n; and mel_lead apart."""
        rows = np.concatenate([np.stack([np.arange(c['frame'], c['frame'] + c['n'])] + [
            np.full(c['n'], c[k]) for k in ('frame', 'n', 'mel', 'mel_n')], 1) for c in clips])
        lead = np.concatenate([np.full(c['n'], c['mel_lead'], np.float32) for c in clips])
        return torch.from_numpy(rows).long().to(self.device), torch.from_numpy(lead).to(self.device)

    def mel_windows(self, rows, lead, late=0.0):
        """(n, 1, 80, columns): the window of each row's frame, moved by `late` frames."""
        t = (rows[:, 0] - rows[:, 1]).float() + late
        start = torch.round(lead + MEL_RATE * (t / FPS + self.offset_s)).long()
        column = start[:, None] + torch.arange(self.columns, device=rows.device)
        column = torch.minimum(column.clamp(min=0), rows[:, 4:5] - 1) + rows[:, 3:4]
        return (self.mel[column].float() * (8 / 63) - 4).transpose(1, 2)[:, None]

    def pictures(self, index):
        return self.frames[index].permute(0, 3, 1, 2).float() / 255

    def landmarks(self, index):
        """(n, 40, 2): fractions of the side."""
        return self.lips[index].float() / (2 * SIZE)

    def batch(self, n, generator, augment=True):
        """(mel, face, truth, lips): inputs as the network wants them, the true lower half, its landmarks."""
        rows, lead = self.table
        pick = torch.randint(len(rows), (n,), generator=generator).to(self.device)
        rows, lead = rows[pick], lead[pick]
        # A reference anywhere else in the clip: at least a fifth of it away.
        away = (rows[:, 2] * (0.2 + 0.6 * torch.rand(n, generator=generator).to(self.device))).long()
        reference = rows[:, 1] + (rows[:, 0] - rows[:, 1] + away) % rows[:, 2]
        mel, target, other = self.mel_windows(rows, lead), self.pictures(rows[:, 0]), self.pictures(reference)
        lips = self.landmarks(rows[:, 0])
        if augment:
            mel = augment_mel(mel, generator)
            target, other, lips = augment_pictures(target, other, lips, generator)
        return mel, faces(target, other), target[:, :, SIZE // 2:], lips


def faces(target, reference):
    masked = target.clone()
    masked[:, :, target.shape[2] // 2:] = 0
    return torch.cat([masked, reference], 1)


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
    """Loudness (20 dB are 1.6 in these units), a tilt over the bands, noise."""
    n, device = len(mel), mel.device
    draw = torch.randn(n, 3, 1, 1, generator=generator).to(device)
    bands = torch.linspace(-1, 1, BANDS, device=device)[:, None]
    out = mel + 0.5 * draw[:, :1] + 0.2 * draw[:, 1:2] * bands + 0.1 * torch.randn(mel.shape, generator=generator).to(device)
    return out.clamp(-4, 4)


def augment_pictures(target, other, lips, generator):
    """One flip, turn, scale, shift and colour for both pictures, a little of its own for the reference."""
    n, device = len(target), target.device

    def uniform(limit, *shape):
        return (2 * torch.rand(n, *shape, generator=generator).to(device) - 1) * limit

    def matrix(angle, scale, shift, flip):
        c, s = torch.cos(angle) * scale, torch.sin(angle) * scale
        return torch.stack([torch.stack([c * flip, -s, shift[:, 0]], 1), torch.stack([s * flip, c, shift[:, 1]], 1)], 1)

    flip = torch.where(torch.rand(n, generator=generator).to(device) < 0.5, -1.0, 1.0)
    angle, scale, shift = uniform(0.06), 1 + uniform(0.05), uniform(0.04, 2)
    both = matrix(angle, scale, shift, flip)
    own = matrix(angle + uniform(0.03), scale * (1 + uniform(0.02)), shift + uniform(0.02, 2), flip)

    def warp(x, m):
        return F.grid_sample(x, F.affine_grid(m, x.shape, align_corners=False), padding_mode='border', align_corners=False)

    gain, lift, gamma = 1 + uniform(0.15, 3, 1, 1), uniform(0.05, 1, 1, 1), torch.exp(uniform(0.2, 1, 1, 1))

    def colour(x):
        return (x.clamp(1e-4, 1) ** gamma * gain + lift).clamp(0, 1)

    # Landmarks go the other way: the matrix says where an output's pixel comes from.
    away = 2 * lips - 1 - both[:, None, :, 2]
    lips = torch.linalg.solve(both[:, :, :2], away.transpose(1, 2)).transpose(1, 2)
    lips = (lips + 1) / 2
    mirrored = lips[:, mirror_order()]
    lips = torch.where(flip[:, None, None] < 0, mirrored, lips)
    return colour(warp(target, both)), colour(warp(other, own)), lips


def mirror_order():
    """The 40 points as a mirrored face numbers them: two rings that begin at a corner of the mouth, 10 points below
    from corner to corner, then back above."""
    ring = [10 - i for i in range(11)] + [10 + 20 - i for i in range(11, 20)]
    return ring + [20 + i for i in ring]


def mouth_mask(lips, grow=5):
    """(n, 1, SIZE/2, SIZE) 0..1: inside of the outer lip in the lower half, grown by some pixels."""
    y, x = torch.meshgrid(torch.arange(SIZE // 2, SIZE, device=lips.device) + 0.5,
                          torch.arange(SIZE, device=lips.device) + 0.5, indexing='ij')
    outer = lips[:, :20] * SIZE
    inside = torch.zeros(len(lips), SIZE // 2, SIZE, dtype=torch.bool, device=lips.device)
    for i in range(20):  # crossings of a ray to the right
        (x0, y0), (x1, y1) = (outer[:, k % 20].unbind(1) for k in (i, i + 1))
        x0, y0, x1, y1 = (v[:, None, None] for v in (x0, y0, x1, y1))
        slope = (x1 - x0) / torch.where((y1 - y0).abs() < 1e-6, torch.full_like(y0, 1e-6), y1 - y0)
        inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + slope * (y - y0))
    return F.max_pool2d(inside[:, None].float(), 2 * grow + 1, 1, grow)


def aperture(lips):
    """(..., 40, 2) landmarks to how far the mouth is open: the mean height of the nine opposite pairs of the inner lip, as
    `koubo eval` has it, but in sides of the (upright) crop."""
    below, above = torch.arange(21, 30), torch.arange(39, 30, -1)
    return (lips[..., below, 1] - lips[..., above, 1]).mean(-1)


def correlation(a, b):
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (math.sqrt(float((a * a).sum() * (b * b).sum())) + 1e-9))
