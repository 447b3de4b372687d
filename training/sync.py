"""The stage `sync`: does this speech belong to this mouth? A SyncNet (Chung & Zisserman 2016) with a contrastive loss over
a batch (InfoNCE), trained on true pictures, then frozen: a loss for the generator, and LSE-D and LSE-C as in the Wav2Lip
paper (Prajwal et al. 2020), but of a network of our own, so not comparable with theirs.
"""
import copy

import torch
from torch import nn
from torch.nn import functional as F

from data import OFFSET_S, augment_mel
from network import COLUMNS
from run import channels_last

LENGTH = 5  # frames that are looked at together
TEMPERATURE = 0.07
MAX_SHIFT = 7   # frames, of LSE-D and LSE-C; Wav2Lip has 15, for longer clips than many of ours


class SyncNet(nn.Module):
    def __init__(self):
        super().__init__()

        def body(inputs, layers):
            parts = []
            for width, stride in layers:
                parts += [nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
            return nn.Sequential(*parts, nn.AdaptiveAvgPool2d((2, 4)), nn.Flatten(), nn.Linear(inputs * 8, 256))

        self.mouth = body(3 * LENGTH, [(48, 1), (64, 2), (96, 2), (128, 2), (192, 1)])
        self.speech = body(1, [(32, (2, 1)), (64, (2, 2)), (96, (2, 2)), (128, 2), (192, 1)])

    def see(self, lower):
        """(n * LENGTH, 3, 64, 128) to (n, 256) of length 1."""
        small = F.avg_pool2d(lower, 2)
        return F.normalize(self.mouth(channels_last(small.reshape(-1, 3 * LENGTH, *small.shape[2:]))).float())

    def hear(self, mel):
        """(n, 1, 80, columns), the window of the frame in the middle, to (n, 256) of length 1."""
        return F.normalize(self.speech(mel).float())


def middle(x):
    """Of every sequence the one in the middle."""
    return x[LENGTH // 2::LENGTH]


def train_sync(run):
    net = SyncNet().to(run.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=1e-2)
    n = run.args.sync_batch

    def one_step(generator):
        mel, _, truth, _ = run.data.batch(n, generator, augment=False, length=LENGTH, pairs=True)
        # A turn of the head or another place of the mouth, as the generator's pictures have them, would cost more than all else.
        mirrored, light = (torch.rand(2, n, 1, 1, 1, generator=generator).repeat_interleave(LENGTH, 1)).to(truth.device)
        truth = torch.where(mirrored < 0.5, truth.flip(3), truth) * (0.7 + 0.6 * light)
        with run.autocast():
            seen, heard = net.see(truth), net.hear(augment_mel(middle(mel), generator))
        scores = seen @ heard.T / TEMPERATURE
        right = torch.arange(n, device=scores.device)
        loss = (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {'sync': loss, 'right': (scores.argmax(1) == right).float().mean()}

    net.train()
    run.loop('sync', run.args.sync_minutes, run.args.sync_steps, {'sync': net, 'optimizer': optimizer}, one_step,
             lambda step: sync_val(run, net))
    return net.eval().requires_grad_(False)


@torch.no_grad()
def distances(net, lower, mel):
    """Distance between mouth and speech at every shift: (2 * MAX_SHIFT + 1,), means over a clip's frames."""
    seen = net.see(lower.unfold(0, LENGTH, 1).permute(0, 4, 1, 2, 3).flatten(0, 1))
    heard = net.hear(mel)[LENGTH // 2:len(mel) - LENGTH // 2]
    n, found = len(seen), []
    for shift in range(-MAX_SHIFT, MAX_SHIFT + 1):
        a, b = seen[max(0, -shift):n - max(0, shift)], heard[max(0, shift):n - max(0, -shift)]
        found.append((a - b).norm(dim=1).mean() if len(a) else torch.tensor(float('nan'), device=seen.device))
    return torch.stack(found)


def lse(d):
    """(LSE-D, LSE-C, offset in frames): the least distance, how far it lies below the median, and where."""
    d = d[~d.isnan()]
    return float(d.min()), float(d.median() - d.min()), int(d.argmin()) - len(d) // 2


def sync_mel(data, clip):
    """The windows that it hears, also where the network under test hears others."""
    heard = copy.copy(data)
    heard.columns, heard.offset_s = COLUMNS, OFFSET_S
    return heard.mel_windows(*heard.make_table([clip]))


@torch.no_grad()
def sync_val(run, net):
    """On true clips of people it has not seen."""
    was = net.training
    net.eval()
    rows = []
    for clip in run.data.val:
        index = torch.arange(clip['frame'], clip['frame'] + clip['n'], device=run.device)
        rows.append(lse(distances(net, run.data.pictures(index)[:, :, 64:], sync_mel(run.data, clip))))
    net.train(was)
    near = sum(abs(offset) <= 1 for _, _, offset in rows) / len(rows)
    return {'lse_d': sum(r[0] for r in rows) / len(rows), 'lse_c': sum(r[1] for r in rows) / len(rows), 'within_1': near}
