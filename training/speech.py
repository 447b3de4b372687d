"""What lips do to a speech: the listener taught on landmarks.

It is trained to tell the lip landmarks of a clip, less their mean over the clip, whole clips at once.

Sound and picture of clips out of many hands lie up to some frames apart, each clip its own way. So there are rounds: after
each the clips are moved to where the listener finds that they fit best, and it learns again, from sharper examples.
"""
import os

import numpy as np
import torch
from torch import nn

from data import aperture, augment_mel, best_lag, correlation
from network import COLUMNS, Network, listener_graph

LENGTH = 28  # frames of a stretch
N = 24       # stretches in a batch
ROUNDS = 4
FAR = 10     # columns that a clip may be moved, 12.5 ms each


class Speech(nn.Module):
    """mel (n, 1, 80, columns) to landmarks (n, places, 40, 2), places = every second column that a window fits behind."""

    def __init__(self):
        super().__init__()
        self.listener = Network(*listener_graph(), norm=['au'])
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(224, 80)

    def forward(self, mel):
        heard = self.listener(mel=mel)[:, :, 0].transpose(1, 2)
        return self.head(self.drop(heard)).view(len(mel), -1, 40, 2).float()


def centred(x, there):
    """Less the mean over the frames (dimension 1) that are there; 0 where they are not."""
    there = there.view(*there.shape, *[1] * (x.dim() - 2))
    return (x - (x * there).sum(1, keepdim=True) / there.sum(1, keepdim=True)) * there


def correlations(a, b, there):
    a, b = centred(a, there), centred(b, there)
    return (a * b).sum(1) / ((a * a).sum(1) * (b * b).sum(1) + 1e-8).sqrt()


def train_speech(run):
    net = Speech().to(run.device)
    for i in range(ROUNDS):
        teach(run, net, f'speech-{i + 1}', run.args.minutes / ROUNDS, run.args.steps // ROUNDS)
        run.data.move_clips(kept(run.path(f'moved-{i + 1}.npy'), lambda: misfits(run, net)))
    return net.eval()


def kept(path, make):
    """The array of path, made if it is not there."""
    if not os.path.exists(path):
        with open(f'{path}.part', 'wb') as f:
            np.save(f, make())
        os.replace(f'{path}.part', path)
    return np.load(path)


def teach(run, net, stage, minutes, steps):
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=3e-2)

    def one_step(generator):
        mel, at, lips, there = run.data.speech_batch(N, LENGTH, generator)
        with run.autocast():
            told = net(augment_mel(mel, generator))
        told = told.gather(1, at[:, :, None, None].expand(-1, -1, 40, 2))
        far = (centred(told, there) - centred(lips, there)).abs().mean(dim=(2, 3)).sum() / there.sum()
        follows = correlations(aperture(told), aperture(lips), there).mean()
        loss = 40 * far + 0.3 * (1 - follows)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {'points': far, 'follows': follows}

    net.train()
    run.loop(stage, minutes, steps, {'speech': net, 'optimizer': optimizer}, one_step, lambda step: speech_val(run, net))


@torch.no_grad()
def misfits(run, net):
    """By how many columns the speech of every training clip is late, as the listener finds; 0 on the average."""
    net.eval()
    data, found = run.data, np.zeros(len(run.data.train))
    by_length = np.argsort([c['n'] for c in data.train])
    for some in np.array_split(by_length, -(-len(by_length) // 32)):
        tables = [data.make_table([data.train[i]]) for i in some]
        starts = [data.mel_starts(*table) for table in tables]
        begins = torch.stack([s[0] for s in starts]) - FAR
        columns = max(int(s[-1] - s[0]) for s in starts) + COLUMNS + 2 * FAR + 1
        told = net(data.mel_columns(torch.stack([rows[0] for rows, _ in tables]), begins, columns))
        for k, i in enumerate(some):
            found[i] = misfit(told[k], starts[k] - begins[k], data.landmarks(tables[k][0][:, 0]))
    return found - found.mean()


def misfit(told, at, lips):
    """Which of the shifts of one clip fits best: told at (at + shift) // 2 to lips."""
    shifts = torch.arange(-FAR, FAR + 1, 2, device=lips.device)
    told, there = told[(at + shifts[:, None]) // 2], torch.ones(len(shifts), len(lips), device=lips.device)
    fits = correlations(aperture(told), aperture(lips).expand(len(shifts), -1), there)
    # A chance maximum far away is likelier than such a shift: one frame costs 0.03, two cost 0.12.
    return float(shifts[(fits - 0.03 * (shifts / 3.2) ** 2).argmax()])


@torch.no_grad()
def speech_val(run, net):
    """How well the opening told from the speech alone follows the landmarks, by clip, of people it has not heard."""
    net.eval()
    rows = []
    for clip in run.data.val:
        told = net(run.data.mel_windows(*run.data.make_table([clip])))[:, 0]
        lips = run.data.landmarks(torch.arange(clip['frame'], clip['frame'] + clip['n'], device=run.device))
        rows.append((correlation(aperture(told), aperture(lips)), *best_lag(aperture(lips), aperture(told))))
    net.train()
    at_0, best, lag = np.transpose(rows)
    return {'correlation': at_0.mean(), 'best': best.mean(), 'within_1': (abs(lag) <= 1).mean()}
