"""The stage `generator`: draws the lower half, is measured, exported."""
import json

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from data import aperture, best_lag, correlation, faces, mouth_mask
from network import COLUMNS, Network, lip_sync_graph, read_safetensors, write_safetensors
from run import channels_last
from sync import LENGTH, middle

CROP = {'33': [0.28, 0.32], '133': [0.41383, 0.32542], '362': [0.58593, 0.32513], '263': [0.72, 0.32],
        '168': [0.49898, 0.29479], '6': [0.49901, 0.33431], '197': [0.49948, 0.37137], '195': [0.49989, 0.40426],
        '5': [0.50013, 0.44049], '4': [0.50057, 0.48353]}


def picture_loss(made, truth, weight):
    """L1, on the lips `weight` times, at three scales, and of the gradients."""
    loss = ((made - truth).abs() * weight).mean()
    for factor in (2, 4):
        loss = loss + 0.5 * ((F.avg_pool2d(made, factor) - F.avg_pool2d(truth, factor)).abs() * F.avg_pool2d(weight, factor)).mean()
    for axis in (2, 3):
        loss = loss + 0.5 * ((made.diff(dim=axis) - truth.diff(dim=axis)).abs() * weight.narrow(axis, 1, weight.shape[axis] - 1)).mean()
    return loss


class Critic(nn.Module):
    """Tells drawn from true patches of 22 pixels around the mouth (a PatchGAN, Isola et al. 2017, with spectral norm and hinge
    loss)."""

    def __init__(self):
        super().__init__()
        layers, inputs = [], 3
        for width, stride in [(32, 2), (64, 2), (96, 1)]:
            layers += [nn.utils.parametrizations.spectral_norm(nn.Conv2d(inputs, width, 4, stride, 1)), nn.LeakyReLU(0.2)]
            inputs = width
        self.body = nn.Sequential(*layers, nn.Conv2d(inputs, 1, 3, 1, 1))

    def forward(self, lower):
        return self.body(channels_last(lower[:, :, 8:56, 32:96].float()))


def begin(run, speech):
    """(network, its copy that will follow smoothly, optimizer): the listener from the stage speech, the rest from --start or
    from nothing."""
    args = run.args
    networks = []
    for _ in range(2):
        network = Network(*lip_sync_graph(), norm=() if args.start else ('e', 'd'))
        if args.start:
            other = [n for n in network.take(read_safetensors(args.start)[0]) if not (speech and n.startswith('au'))]
            if other:
                raise SystemExit(f"{args.start} has other shapes at {', '.join(other)}: start from another network, or from none")
        if speech:
            network.take(speech.listener.folded(np.float32))
        networks.append(network.to(run.device, memory_format=torch.channels_last))
    network, smooth = networks
    smooth.load_state_dict(network.state_dict())
    smooth.eval()
    # What the listener learnt from every clip many times, a few rounds of pictures shall not undo.
    rates = {'au': args.listener_rate * args.rate, 'e': 0 if args.keep_encoder else args.rate}
    groups = {}
    for name, parameter in network.named_parameters():
        layer = name.split('.')[1]
        rate = next((r for prefix, r in rates.items() if layer.startswith(prefix)), args.rate)
        if rate:
            groups.setdefault(rate, []).append(parameter)
        parameter.requires_grad_(rate > 0)
    optimizer = torch.optim.AdamW([{'params': p, 'lr': rate} for rate, p in groups.items()], weight_decay=1e-4)
    return network, smooth, optimizer


def train_generator(run, reader, sync, speech):
    args = run.args
    network, smooth, optimizer = begin(run, speech)
    states = {'network': network, 'smooth': smooth, 'optimizer': optimizer}
    if args.sharp_weight:
        critic = Critic().to(run.device, memory_format=torch.channels_last)
        judging = torch.optim.AdamW(critic.parameters(), 2e-4, betas=(0.0, 0.9))
        states |= {'critic': critic, 'judging': judging}

    def judge(made, truth):
        loss = F.relu(1 - critic(truth)).mean() + F.relu(1 + critic(made.detach())).mean()
        judging.zero_grad(set_to_none=True)
        loss.backward()
        judging.step()
        return loss

    def one_step(generator):
        length = LENGTH if sync else 1
        mel, face, truth, lips = run.data.batch(args.batch // length, generator, length=length)
        weight = 1 + args.lips_weight * mouth_mask(lips)
        with run.autocast():
            made = network(mel=mel, face=channels_last(face))
            read = reader(channels_last(made))
        with torch.no_grad(), run.autocast():
            wanted = reader(channels_last(truth))
        picture = picture_loss(made, truth, weight / weight.mean(dim=(2, 3), keepdim=True))
        # Beside the points themselves the opening, which is small among them and what is seen.
        points = (read - wanted).abs().mean() + 2 * (aperture(read) - aperture(wanted)).abs().mean()
        losses = {'picture': picture, 'points': args.points_weight * points}
        if sync:
            with run.autocast():
                fits = (sync.see(made) * sync.hear(middle(mel))).sum(1).mean()
            losses['sync'] = args.sync_weight * (1 - fits)
        judged = {}
        if args.sharp_weight and run.done >= args.sharp_from:
            judged['critic'] = judge(made, truth)
            losses['sharp'] = -args.sharp_weight * critic(made).mean()
        loss = sum(losses.values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in network.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        with torch.no_grad():
            for a, b in zip(smooth.state_dict().values(), network.state_dict().values()):
                if a.is_floating_point():
                    a.lerp_(b, max(0.002, 1 / (2 + run.step)))  # of a short run the mean, of a long one the last 500 steps
                else:
                    a.copy_(b)
        return losses | judged

    def report(step):
        figures = measure_val(run, smooth, reader)
        some = run.data.val[::max(1, len(run.data.val) // 6)][:6]
        sheet(run, smooth, run.path(f'sheet-{step:07d}.png'), some)
        export(run, smooth, figures)
        return figures

    step, new = run.loop('generator', args.minutes, args.steps, states, one_step, report)
    if not new:  # measured and exported again all the same
        run.log('generator val', step, 0, **report(step))


@torch.no_grad()
def drive(run, network, clip, other=None, late=0.0):
    """(made, truth, landmarks) of a clip with its own speech, or another clip's, against its first frame."""
    data = run.data
    index = torch.arange(clip['frame'], clip['frame'] + clip['n'], device=run.device)
    rows, times = data.make_table([clip])
    if other:
        source, source_times = data.make_table([other])
        rows[:, 3:], times[:, 0] = source[0, 3:], source_times[0, 0]
    target = data.pictures(index)
    face = faces(target, target[:1].expand_as(target))
    mel = data.mel_windows(rows, times, late)
    with run.autocast():
        made = torch.cat([network(mel=m, face=channels_last(f)) for m, f in zip(mel.split(64), face.split(64))])
    return made, target[:, :, 64:], data.landmarks(index)


def lips_psnr(made, truth, lips):
    mask = mouth_mask(lips)
    error = ((made - truth) ** 2 * mask).sum() / (3 * mask.sum())
    return -10 * torch.log10(error + 1e-8)


@torch.no_grad()
def measure_val(run, network, reader):
    """Figures over the val people, lips read by the reader. Correlations at the best lag, as `koubo eval` has them, and at
    lag 0; swapped: with the speech of the next clip."""
    rows, clips = [], run.data.val
    for i, clip in enumerate(clips):
        made, truth, lips = drive(run, network, clip)
        other, _, _ = drive(run, network, clip, clips[(i + 1) % len(clips)])  # of one clip alone its own speech
        opened, swapped, real = aperture(reader(made)), aperture(reader(other)), aperture(lips)
        best, lag = best_lag(real, opened)
        rows.append((best, abs(lag) <= 1, best_lag(real, swapped)[0], correlation(opened, real), correlation(swapped, real),
                     float(opened.std() / real.std().clamp(min=1e-4)), float(lips_psnr(made, truth, lips))))
    means, medians = np.mean(rows, 0), np.median(rows, 0)
    return {'aperture_correlation': means[0], 'aperture_correlation_median': medians[0], 'within_1_frame': means[1],
            'swapped': means[2], 'at_lag_0': means[3], 'swapped_at_lag_0': means[4], 'amplitude': medians[5], 'lips_psnr_db': means[6]}


def sheet(run, network, path, clips, columns=8):
    """A PNG with frames of these clips, the truth above what was made."""
    lines = []
    for clip in clips:
        made, truth, _ = drive(run, network, clip)
        upper = run.data.pictures(torch.arange(clip['frame'], clip['frame'] + clip['n'], device=run.device))[:, :, :64]
        pick = np.linspace(0, clip['n'] - 1, columns).astype(int)
        for pictures in (truth, made):
            whole = torch.cat([upper, pictures.float()], 2)
            lines.append(np.concatenate([whole[i].permute(1, 2, 0).cpu().numpy() for i in pick], 1))
    picture = (np.concatenate(lines, 0) * 255).round().clip(0, 255).astype(np.uint8)
    cv2.imwrite(path, picture[:, :, ::-1])


def export(run, network, figures):
    args = run.args
    ops, _ = lip_sync_graph()
    write_safetensors(run.path(f'{args.name}.safetensors'), network.folded(), {
        'format': 'koubo', 'version': '2', 'name': args.name, 'graph': json.dumps(ops),
        'inputs': json.dumps({'mel': [-1, 1, 80, COLUMNS], 'face': [-1, 6, 128, 128]}),
        'output': json.dumps({'lower_face': [-1, 3, 64, 128]}), 'colour': 'RGB', 'range': '0..1',
        'crop': json.dumps(CROP), 'crop_size': '128', 'output_rows': '64..127', 'masked_rows': '64..127',
        'face_layout': 'masked,reference', 'reference': 'other', 'mel_offset_s': f'{run.data.true_offset(args.trust):.4g}',
        'mel_columns': str(COLUMNS), 'mel_rounding': 'nearest',
        'training_data': args.training_data,
        'figures': json.dumps({k: round(float(v), 4) for k, v in figures.items()}),
    })
