"""The stage `reader`: reads lip landmarks from true pictures, later from made ones."""
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from data import aperture, correlation
from run import channels_last


class LipReader(nn.Module):
    """Where the 40 lip landmarks are in a lower face: (n, 3, size/2, size) to (n, 40, 2), fractions of the crop's side.

    Trained on true faces and then frozen, it tells the generator how wide its mouths are open (as a loss), and the
    evaluation how wide they came out (as a quick measure; `koubo eval` is the exact one)."""

    def __init__(self):
        super().__init__()
        layers, inputs = [nn.PixelUnshuffle(2)], 12
        for width, stride in [(24, 1), (32, 2), (64, 2), (96, 2), (128, 2)]:
            layers += [nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(128 * 8, 80)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.copy_(torch.tensor([0.5, 0.75]).repeat(40))

    def forward(self, lower):
        return self.head(self.body(lower).flatten(1)).view(-1, 40, 2).float()


def train_reader(run):
    reader = LipReader().to(run.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(reader.parameters(), 2e-3, weight_decay=1e-3)

    def one_step(generator):
        _, _, truth, lips = run.data.batch(64, generator)
        # What the generator draws is softer than a photograph: the reader must know soft pictures too.
        if torch.rand(1, generator=generator) < 0.3:
            truth = F.interpolate(F.avg_pool2d(truth, 2), scale_factor=2, mode='bilinear', align_corners=False)
        with run.autocast():
            read = reader(channels_last(truth))
        loss = (read - lips).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {'reader': loss}

    def report(step):
        return read_val(run, reader)

    reader.train()
    run.loop('reader', run.args.reader_minutes, run.args.reader_steps, {'reader': reader, 'optimizer': optimizer}, one_step, report)
    return reader.eval().requires_grad_(False)


@torch.no_grad()
def read_val(run, reader):
    """How well it reads people it has not seen: distance in widths of the crop, correlation of the opening by clip."""
    was = reader.training
    reader.eval()
    distances, correlations = [], []
    for clip in run.data.val:
        index = torch.arange(clip['frame'], clip['frame'] + clip['n'], device=run.device)
        read = reader(run.data.pictures(index)[:, :, 64:])
        lips = run.data.landmarks(index)
        distances.append((read - lips).norm(dim=-1).mean())
        correlations.append(correlation(aperture(read), aperture(lips)))
    reader.train(was)
    return {'distance': torch.stack(distances).mean(), 'correlation': np.mean(correlations)}
