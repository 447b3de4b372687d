"""The training data: speech as mel spectrograms, and how lips move to it.

A folder holds what `koubo dataset` writes (src/lab/dataset.h): mel.npy (rows of 80 bands, 80 rows a second, 0..63), motion.npy (frames,
41, 2: 40 points of the lips in the track's order and the chin, away from the person's own closed mouth, canonical units) and index.json
with the `clips`: name, frame, n, fps, mel, mel_n, mel_lead, split, group, cluster.
"""
import json
import math
import os
from types import SimpleNamespace

import numpy as np
import torch

MEL_RATE, BANDS, RATE, POINTS = 80.0, 80, 40.0, 41  # the listener tells RATE samples a second
DB = 12.5  # of a step of the mel: -4..4 are 100 dB
BELOW, ABOVE = [40 - k for k in range(1, 10)], [20 + k for k in range(1, 10)]  # opposite points of the inner lips
LEFT, RIGHT = 20, 30  # the inner lips' corners
MADE = ('spoken', 'warped')  # groups of clips without a film, spoken.py
TRACK_POINTS = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146,
                78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]


def read(folders, groups=None, most=0):
    """(train, val): clips of the folders, each with its mel (80, columns) in -4..4 and its motion (n, 41, 2), symmetric. What was made, and
    not filmed, is for training only."""
    sides = {'train': [], 'val': []}
    for folder in folders:
        with open(os.path.join(folder, 'index.json'), encoding='utf-8') as f:
            index = json.load(f)
        if index.get('version') != 2:
            raise SystemExit(f'{folder} is no dataset of version 2; koubo dataset makes one, retrack.py turns an older one into it')
        mel, motion = (np.load(os.path.join(folder, f'{name}.npy'), mmap_mode='r') for name in ('mel', 'motion'))
        for c in index['clips']:
            unwanted = groups and c['group'] not in groups if c['split'] == 'train' else c['group'] in MADE
            if unwanted:
                continue
            rows = np.array(mel[c['mel']:c['mel'] + c['mel_n']], np.float32) * (8 / 63) - 4
            frames = torch.from_numpy(np.array(motion[c['frame']:c['frame'] + c['n']], np.float32))
            sides[c['split']].append(SimpleNamespace(
                name=c['name'], group=c['group'], cluster=c['cluster'], n=c['n'], lead=c['mel_lead'], step=MEL_RATE / c['fps'],
                mel=torch.from_numpy(rows.T.copy()), seen=frames, motion=symmetric(frames)))
    if most:  # evenly out of all, for tests
        sides = {k: v[::max(1, len(v) // most)][:most] for k, v in sides.items()}
    check_split(sides['train'], sides['val'])
    if not sides['train'] or not sides['val']:
        raise SystemExit(f"there are {len(sides['train'])} clips to train on and {len(sides['val'])} to check with; it takes both")
    return sides['train'], sides['val']


def check_split(train, val):
    """No clip and no cluster of look-alikes on both sides. Clusters number the people of one group only."""
    for name, of in (('name', lambda c: c.name), ('cluster', lambda c: (c.group, c.cluster) if c.cluster != -1 else None)):
        both = ({of(c) for c in train} & {of(c) for c in val}) - {None}
        if both:
            raise SystemExit(f'the split leaks: {name} {sorted(both)[:5]} is in train and in val')


def mirror_order():
    """The points as a mirrored face numbers them: two rings of 20 from the left corner over the upper lip, and the chin."""
    ring = [10 - i if i <= 10 else 30 - i for i in range(20)]
    return ring + [20 + i for i in ring] + [40]


def symmetric(motion):
    """The mean of mouths and their mirror images: a speech says nothing of left and right."""
    mirrored = motion[..., mirror_order(), :].clone()
    mirrored[..., 0] *= -1
    return (motion + mirrored) / 2


def opening(motion):
    """(..., 40 or 41, 2) to how much further the mouth is open than closed: the mean of the nine gaps of the inner lips."""
    return (motion[..., BELOW, 1] - motion[..., ABOVE, 1]).mean(-1)


def width(motion):
    """How much wider the mouth is, from corner to corner."""
    return motion[..., RIGHT, 0] - motion[..., LEFT, 0]


class Batch:
    """Stretches of clips beside each other. mel (n, 80, 2 * samples): column 2 * i is where sample i stands; place (n, frames): the sample
    of each frame, with a fraction; motion (n, frames, 41, 2); there (n, frames): 0 behind the end of a shorter one."""

    def __init__(self, stretches, late, margin, speed=None):
        """stretches: (clip, first frame, frames); late: by how many columns the speech of each is; margin: samples before and behind the
        frames; speed: how much faster each is spoken, and moves."""
        n = max(frames for _, _, frames in stretches)
        speed = speed if speed is not None else [1.0] * len(stretches)
        samples = math.ceil(max(frames * c.step / s for (c, _, frames), s in zip(stretches, speed)) / 2) + 2 * margin + 2
        self.place, self.there = torch.zeros(len(stretches), n), torch.zeros(len(stretches), n)
        self.motion, mels = torch.zeros(len(stretches), n, POINTS, 2), []
        for i, (clip, first, frames) in enumerate(stretches):
            columns = clip.lead + late[i] + clip.step * (first + torch.arange(frames))
            begin = math.floor(float(columns[0])) - 2 * margin * speed[i]
            mels.append(columns_at(clip.mel, begin + speed[i] * torch.arange(2 * samples)))
            self.place[i, :frames] = (columns - begin) / speed[i] / 2
            self.motion[i, :frames] = clip.motion[first:first + frames]
            self.there[i, :frames] = 1
        self.mel = torch.stack(mels)


def columns_at(mel, columns):
    """The mel at columns, between them too; beyond its ends these are repeated."""
    low = columns.floor()
    part = columns - low
    low = low.long()
    last = mel.shape[1] - 1
    if not part.any():
        return mel[:, low.clamp(0, last)]
    return mel[:, low.clamp(0, last)] * (1 - part) + mel[:, (low + 1).clamp(0, last)] * part


def at(series, place):
    """(n, samples, k) at places (n, frames) between the samples."""
    low = place.floor().long().clamp(0, series.shape[1] - 2)
    part = (place - low)[..., None]

    def rows(index):
        return series.gather(1, index[..., None].expand(-1, -1, series.shape[2]))
    return rows(low) * (1 - part) + rows(low + 1) * part


def augment_mel(mel, generator, share=0.5):
    """Another voice and another room, (n, 80, columns) as if it had been another recording, for a share of them: formants moved by up to six bands,
    a tilt and a bow over the bands, a steady noise or other people's speech underneath, a telephone's band, some bands missing. The others
    keep their voice. All of them are made louder or softer (20 dB are 1.6 here)."""
    n, _, columns = mel.shape
    device = mel.device

    def uniform(low, high, *shape):
        return (torch.rand(n, *shape, generator=generator) * (high - low) + low).to(device)

    def normal(*shape):
        return torch.randn(n, *shape, generator=generator).to(device)

    own = mel + 0.3 * normal(1, 1)
    band = torch.arange(BANDS, device=device)
    moved = uniform(-4, 4, 1) * (uniform(0, 1, 1) < 0.6)
    source = (band * (1 + uniform(-0.06, 0.06, 1)) + moved).clamp(0, BANDS - 1)
    low = source.floor().long().clamp(max=BANDS - 2)
    part = (source - low)[..., None]
    index = low[..., None].expand(-1, -1, columns)
    mel = mel.gather(1, index) * (1 - part) + mel.gather(1, index + 1) * part
    slope = torch.linspace(-1, 1, BANDS, device=device)[:, None]
    mel = mel + 0.5 * normal(1, 1) + 0.25 * normal(1, 1) * slope + 0.2 * normal(1, 1) * slope ** 2
    noise = uniform(-4, -1.5, 1, 1) + 0.4 * normal(1, 1) * slope + 0.25 * normal(BANDS, columns)
    others = mel[torch.randperm(n, generator=generator)] - uniform(0.8, 2.2, 1, 1)
    under = torch.where(uniform(0, 1, 1, 1) < 0.5, noise, torch.full_like(mel, -6))
    under = torch.where(uniform(0, 1, 1, 1) < 0.2, torch.maximum(under, others), under)
    power = DB * math.log(10) / 10
    mel = torch.logaddexp(mel * power, under * power) / power
    telephone = (uniform(0, 1, 1) < 0.1) & ((band < uniform(4, 9, 1)) | (band > uniform(52, 62, 1)))
    mel = torch.where(telephone[..., None], mel.clamp(max=-3.5), mel)
    first, wide = uniform(0, 70, 1), uniform(1, 12, 1) * (uniform(0, 1, 1) < 0.3)
    missing = (band >= first) & (band < first + wide)
    mel = torch.where(missing[..., None], mel.mean((1, 2), keepdim=True), mel)
    mel = torch.where(uniform(0, 1, 1, 1) < share, mel, own)
    return (mel + 0.05 * normal(BANDS, columns)).clamp(-4, 4)
