#!/usr/bin/python3
"""A small judge of sync over the motion of lips and speech, which `koubo eval --sync` runs; points only, no pictures.

    python3 training/judge.py --data DATASET --groups grid --trust grid --listener koubo-lips.safetensors --out koubo-sync.safetensors

Two networks say a vector of length 1 of each moment, 40 a second: one of the lips around it, one of the speech. They learn to agree where lips
and speech belong together (InfoNCE; van den Oord et al. 2018), against the same speech at other lags and the speech of other clips. Seeded; minutes of
one core. The listener is no teacher: where it hears a clip that is not of --trust tells which lag is that clip's true one when figures are made.
"""
import argparse
import json
import os
import re
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import evaluate
from data import TRACK_POINTS, augment_mel, mirror_order
from network import GraphBuilder, Network, write_safetensors

RATE, STEP, FRAME = 40, 2, 1.6    # moments a second, columns of the mel in one, moments in a frame of 25 a second
POINTS, MEAN, UNIT = 41, 40, 0.02  # the mean over MEAN moments on either side is taken off the lips; UNIT: about how far they move
CLEAR = 0.4                        # correlation from which on the listener's lag is taken for a clip's own
LAG, FAR = 24, 8                   # moments: lags that are judged, and five frames
LIPS, SPEECH, SIZE = (5, 5, 3), (7, 5, 5, 3), 32  # kernels over time; the first one of the speech strides; numbers in a vector
WIDE = (48, 64)                    # of the layers before the last
LIPS_LEAD = -(sum(k - 1 for k in LIPS) // 2)
MEL_LEAD = -((STEP * sum(k - 1 for k in SPEECH[1:]) + SPEECH[0]) // 2)
STRETCH = 256                      # moments in one run of the exported network
CHIN = 152


# --- clips ---

def person_of(clip):
    """Who speaks, as far as it is known: a cluster of look-alikes, a talker of GRID, else everybody of one source is one."""
    if clip['cluster'] != -1:
        return clip['group'], clip['cluster']
    talker = re.search(r'__(s\d+)__', clip['name'])
    return talker[1] if talker else '__'.join(clip['name'].split('__')[:2])


def lips_of(clip, motion):
    """(moments, 82): mixed from the frames, less the mean around; as src/lipsync/sync.c has it."""
    frames = np.arange(int((clip['n'] - 1) / clip['fps'] * RATE) + 1) * clip['fps'] / RATE
    low = np.minimum(frames.astype(int), clip['n'] - 2)
    flat = motion.reshape(clip['n'], -1).astype(np.float64)
    lips = flat[low] + (frames - low)[:, None] * (flat[low + 1] - flat[low])
    sums, i = np.concatenate([np.zeros((1, 2 * POINTS)), np.cumsum(lips, 0)]), np.arange(len(lips))
    begin, end = np.maximum(i - MEAN, 0), np.minimum(i + MEAN + 1, len(lips))
    return torch.from_numpy(((lips - (sums[end] - sums[begin]) / (end - begin)[:, None]) / UNIT).astype(np.float32))


def read(folder):
    with open(os.path.join(folder, 'index.json'), encoding='utf-8') as f:
        index = json.load(f)
    if index.get('version') != 2:
        raise SystemExit(f'{folder} is no dataset of version 2; koubo dataset makes one')
    motion, mel = (np.load(os.path.join(folder, f'{name}.npy'), mmap_mode='r') for name in ('motion', 'mel'))
    clips = []
    for c in index['clips']:
        speech = np.array(mel[c['mel']:c['mel'] + c['mel_n']], np.float32) * (8 / 63) - 4
        lips = lips_of(c, np.array(motion[c['frame']:c['frame'] + c['n']]))
        clips.append(SimpleNamespace(name=c['name'], group=c['group'], split=c['split'], person=person_of(c), lips=lips, n=len(lips),
                                     mel=torch.from_numpy(speech), lead=c['mel_lead'], lag=0, heard=1.0, told=None))
    return clips


def cut_lips(clip, first, n):
    """What the network sees of n moments; beyond the clip's ends these are repeated."""
    return clip.lips[(first + LIPS_LEAD + torch.arange(n - 2 * LIPS_LEAD)).clamp(0, clip.n - 1)]


def cut_speech(clip, first, n):
    columns = round(clip.lead + STEP * first) + MEL_LEAD + torch.arange(STEP * (n - 1) + 1 - 2 * MEL_LEAD)
    return clip.mel[columns.clamp(0, len(clip.mel) - 1)]


def sounds(clip, first, n):
    columns = clip.lead + STEP * (first + torch.arange(n))
    return ((columns >= 0) & (columns < len(clip.mel))).float()


# --- the networks ---

def tower(inputs, kernels, wide, source, name, rows=1, step=1):
    b = GraphBuilder()
    for i, k in enumerate(kernels):
        last = i == len(kernels) - 1
        out = f'of_{source}' if last else f'{name}.{i}'
        b.conv(source if i == 0 else f'{name}.{i - 1}', out, inputs, SIZE if last else wide, (rows if i == 0 else 1, k),
               (1, step if i == 0 else 1), relu=not last)
        inputs = wide
    return b.ops, b.shapes


class Judge(nn.Module):
    def __init__(self):
        super().__init__()
        self.lips = Network(*tower(2 * POINTS, LIPS, WIDE[0], 'lips', 'l'))
        self.speech = Network(*tower(1, SPEECH, WIDE[1], 'mel', 's', 80, STEP))
        self.sharpness = nn.Parameter(torch.tensor(2.5))

    def see(self, lips):
        """(n, moments, 82) to vectors (n, SIZE, moments)."""
        return F.normalize(self.lips(lips=lips.transpose(1, 2)[:, :, None])[:, :, 0], dim=1)

    def hear(self, mel):
        return F.normalize(self.speech(mel=mel.transpose(1, 2)[:, None])[:, :, 0], dim=1)


# --- learning ---

def augment_lips(lips, generator):
    """Mirrored by halves, as wide and as lively as somebody else's, tracked less well."""
    n = len(lips)
    points = lips.view(n, -1, POINTS, 2)

    def normal(*shape):
        return torch.randn(shape, generator=generator)
    mirrored = points[:, :, mirror_order()] * torch.tensor([-1.0, 1.0])
    points = torch.where((torch.rand(n, 1, 1, 1, generator=generator) < 0.5), mirrored, points)
    return (points * torch.exp(0.3 * normal(n, 1, 1, 2)) + 0.05 * normal(*points.shape) + 0.1 * normal(n, 1, 1, 2)).flatten(2)


def batch_of(clips, weights, n, length, generator):
    picked = [clips[i] for i in torch.multinomial(weights, n, True, generator=generator).tolist()]
    first = [int(torch.randint(0, max(1, c.n - length + 1), (1,), generator=generator)) for c in picked]
    lips = augment_lips(torch.stack([cut_lips(c, f, length) for c, f in zip(picked, first)]), generator)
    mel = torch.stack([cut_speech(c, f - LAG, length + 2 * LAG) for c, f in zip(picked, first)])
    mel = augment_mel(mel.transpose(1, 2), generator).transpose(1, 2)
    seen = torch.stack([(f + torch.arange(length) < c.n).float() for c, f in zip(picked, first)])
    return picked, lips, mel, seen, torch.stack([sounds(c, f - LAG, length + 2 * LAG) for c, f in zip(picked, first)])


def pooled(products, both, window):
    """Means of products over windows of moments, and which windows have enough of them."""
    there = F.avg_pool1d(both, window, window // 2)
    mean = F.avg_pool1d(products * both, window, window // 2) / there.clamp(min=1e-3)
    return torch.where(there > 0.7, mean, torch.full_like(mean, -9.0)), there > 0.7


def loss_of(judge, picked, lips, mel, seen, heard, slack, window=32, near=3):
    """InfoNCE over windows of 0.8 s: the true lag (of a clip whose sound may be off: one of those within its slack) against lags further off
    and other clips; lags beside the true one count for nothing."""
    see, hear, n = judge.see(lips), judge.hear(mel), lips.shape[1] + 2 * LIPS_LEAD
    own = torch.stack([(see * hear[:, :, k:k + n]).sum(1) for k in range(2 * LAG + 1)], 1)
    own, there = pooled(own, torch.stack([seen * heard[:, k:k + n] for k in range(2 * LAG + 1)], 1), window)
    middle, now = hear[:, :, LAG:LAG + n], heard[:, LAG:LAG + n]
    others, _ = pooled(torch.einsum('bdl,cdl->bcl', see, middle), seen[:, None] * now[None], window)
    same = torch.tensor([[a is b for b in picked] for a in picked])
    others = others.masked_fill(same[:, :, None], -9.0)
    away = torch.arange(-LAG, LAG + 1).abs()[None] - torch.tensor([slack(c) for c in picked])[:, None]
    sharp, ok = judge.sharpness.exp(), there[:, LAG].float()
    right = (sharp * own).masked_fill((away > 0)[:, :, None], -1e4).logsumexp(1) - ((away <= 0).sum(1).float().log())[:, None]
    wrong = torch.cat([(sharp * own).masked_fill((away < near)[:, :, None], -1e4), sharp * others], 1).logsumexp(1)
    loss = F.softplus(wrong - right) + 0.3 * F.softplus((sharp * others).logsumexp(0) - right)
    return (loss * ok).sum() / ok.sum().clamp(min=1)


def teach(clips, trust, args, seed):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    judge = Judge()
    optimizer = torch.optim.AdamW(judge.parameters(), args.rate, weight_decay=1e-3)
    sizes = {g: sum(c.n for c in clips if c.group == g) for g in {c.group for c in clips}}
    # The square root: groups of many clips shall not drown those of few.
    weights = torch.tensor([min(c.n, 400) / sizes[c.group] ** 0.5 for c in clips])
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group['lr'] = args.rate * min(1, (step + 1) / 100) * (0.02 + 0.49 * (1 + np.cos(np.pi * step / args.steps)))
        loss = loss_of(judge, *batch_of(clips, weights, args.batch, args.length, generator), lambda c: 0 if c.group in trust else 4)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 100 == 0:
            print(f'step {step + 1}  loss {float(loss):.3f}  sharpness {float(judge.sharpness.exp()):.1f}', flush=True)
    return judge.eval()


# --- figures ---

@torch.no_grad()
def agreements(judge, clip, first=0, n=None, lag=LAG, speech=None):
    """The mean product at each lag -lag..lag, and of how many moments; -1 where half of them lack a partner."""
    n, speech = n or clip.n, speech or clip
    see = judge.see(cut_lips(clip, first, n)[None])
    hear, heard = judge.hear(cut_speech(speech, first - lag, n + 2 * lag)[None]), sounds(speech, first - lag, n + 2 * lag)
    products = torch.stack([(see * hear[:, :, k:k + n]).sum(1)[0] for k in range(2 * lag + 1)])
    there = torch.stack([heard[k:k + n] for k in range(2 * lag + 1)])
    counts = there.sum(1)
    mean = torch.where(2 * counts > counts.max(), (products * there).sum(1) / counts.clamp(min=1), torch.tensor(-1.0))
    return mean.numpy(), int(counts.max())


def heard_openings(clip, tell, far=LAG + 12):
    """The baseline: the correlation of the opening with what a listener tells, at each lag."""
    if clip.told is None:
        clip.told = evaluate.opening(tell(clip.mel.numpy()))
    told, seen = clip.told, evaluate.opening(clip.lips.view(-1, POINTS, 2).numpy())

    def at(first, n):
        out = []
        for lag in range(-far, far + 1):
            place = clip.lead / STEP + first + np.arange(n) + lag
            there = (place >= 0) & (place < len(told))
            out.append(evaluate.correlation(np.where(there, seen[first:first + n], np.nan), np.interp(place, np.arange(len(told)), told)))
        return np.nan_to_num(np.array(out), nan=-1.0)
    return at


def find_lags(clips, tell, trust):
    """Where the listener hears each clip, within ten moments; trusted ones stand where they are."""
    for clip in clips:
        fits = heard_openings(clip, tell, 10)(0, clip.n)
        clip.heard = float(fits.max())
        clip.lag = 0 if clip.group in trust else int(fits.argmax()) - 10


def take_bias(judge, clips, trust):
    """Nobody knows where the sound of clips from many hands truly lies; what judge and listener differ by in the mean is neither's error. Moves
    their lags by it. Milliseconds."""
    clips = [c for c in clips if c.group not in trust and c.heard > CLEAR]
    bias = int(np.median([int(agreements(judge, c)[0].argmax()) - LAG - c.lag for c in clips])) if clips else 0
    for clip in clips:
        clip.lag += bias
    return bias * 1000 // RATE


def tells(fits, lag):
    """Does the true lag, give or take one, beat those five frames away? And how far is the best one off?"""
    middle = len(fits) // 2

    def near(k):
        return fits[middle + k - 1:middle + k + 2].max()
    lags = fits[middle - LAG:middle + LAG + 1]
    return near(lag) > max(near(lag - FAR), near(lag + FAR)), abs(int(lags.argmax()) - LAG - lag)


def figures(clips, fits_of):
    """Of clips of two seconds and more, whole and in windows of two seconds: the part that is told from itself shifted by five frames, and the
    part whose offset is found to within a frame."""
    whole, windows = [], []
    for clip in (c for c in clips if c.n >= 2 * RATE):
        at = fits_of(clip)
        whole.append(tells(at(0, clip.n), clip.lag))
        windows += [tells(at(first, 2 * RATE), clip.lag) for first in range(0, clip.n - 2 * RATE + 1, RATE)]
    out = {'clips': len(whole), 'windows': len(windows)}
    for name, rows in (('', whole), ('_2s', windows)):
        out['told' + name], out['within_1' + name] = (round(float(np.mean(v)), 3) for v in
                                                      ([r[0] for r in rows], [r[1] <= FRAME for r in rows])) if rows else (np.nan, np.nan)
    return out


def judged(judge):
    return lambda clip: lambda first, n: agreements(judge, clip, first, n, LAG + 12)[0]


def posterior(fits, n, weight, none, most):
    """(probability of each lag, of none of them), as fit_of() in src/lipsync/sync.c."""
    by = weight * min(n, most)
    odds = np.where(fits > -1, np.exp(by * (fits - fits.max())), 0)
    other = np.exp(by * (none - fits.max()))
    return odds / (odds.sum() + other), other / (odds.sum() + other)


def calibrate(judge, clips, most=400):
    """(weight, none) under which true lags of people not seen, and `none` where the speech is somebody else's, are likeliest."""
    rows = []
    clear = [c for c in clips if c.n >= 2 * RATE and c.heard > CLEAR]
    for i, clip in enumerate(clear):
        other = max((c for c in clear if c is not clip), key=lambda c: (min(c.n, clip.n), (clear.index(c) - i) % len(clear) * -1))
        for first, n in {(0, min(clip.n, 2 * RATE)), (max(0, clip.n - 3 * RATE), min(clip.n, 3 * RATE)), (0, clip.n)}:
            rows.append((*agreements(judge, clip, first, n), clip.lag))
            if first + n <= other.n:
                rows.append((*agreements(judge, clip, first, n, speech=other), None))

    def surprise(weight, none):
        total = 0
        for fits, n, lag in rows:
            each, other = posterior(fits, n, weight, none, most)
            near = each[[k for k in range(len(fits)) if lag is not None and abs(k - LAG - lag) <= FRAME]].sum() if lag is not None else other
            total -= np.log(max(near, 1e-3))
        return total / len(rows)
    best = min((surprise(w, c), w, c) for w in np.geomspace(0.05, 3, 19) for c in np.arange(0.05, 0.5, 0.025))
    print(f'sureness: weight {best[1]:.3f}, none {best[2]:.3f}, surprise {best[0]:.3f} of {len(rows)} stretches', flush=True)
    return best[1], best[2]


# --- the file ---

def export(path, judge, weight, none, most, metadata):
    arrays = {**judge.lips.folded(np.float32), **judge.speech.folded()}
    arrays['l.0.weight'] = arrays['l.0.weight'] / UNIT
    arrays = {k: v.astype(np.float16 if k.endswith('weight') else np.float32) for k, v in arrays.items()}
    write_safetensors(path, arrays, {
        'format': 'koubo-sync', 'version': '1', 'name': 'koubo-sync', 'graph': json.dumps(judge.lips.ops + judge.speech.ops),
        'inputs': json.dumps({'lips': [-1, 2 * POINTS, 1, STRETCH - 2 * LIPS_LEAD], 'mel': [-1, 1, 80, STEP * (STRETCH - 1) + 1 - 2 * MEL_LEAD]}),
        'output': json.dumps({'of_lips': [-1, SIZE, 1, STRETCH], 'of_mel': [-1, SIZE, 1, STRETCH]}), 'rate': str(RATE),
        'lips_lead': str(LIPS_LEAD), 'mel_lead': str(MEL_LEAD), 'points': json.dumps(TRACK_POINTS + [CHIN]),
        'sureness_weight': f'{weight:.6g}', 'sureness_none': f'{none:.6g}', 'sureness_most': str(most), **metadata})


def arguments(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True, help='folder that koubo dataset made')
    p.add_argument('--listener', required=True, help='a koubo-lips.safetensors: the baseline, and where the clips of other groups lie')
    p.add_argument('--out', help='where to write koubo-sync.safetensors')
    p.add_argument('--groups', nargs='*', help='train on these groups of clips only (default: all)')
    p.add_argument('--trust', nargs='*', default=['own', 'grid'], help='groups whose sound is in time')
    p.add_argument('--folds', type=int, default=0, help='instead: so many judges, each measured on people that it has not seen')
    p.add_argument('--training-data', default='own videos', help='what to write into the file about it, terms included')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--steps', type=int, default=1000)
    p.add_argument('--batch', type=int, default=24)
    p.add_argument('--length', type=int, default=80, help='moments of a stretch')
    p.add_argument('--rate', type=float, default=2e-3)
    p.add_argument('--threads', type=int, default=os.cpu_count())
    return p.parse_args(argv)


def show(name, of):
    print(f'{name:28}' + '  '.join(f'{k} {v}' for k, v in of.items()), flush=True)


def cross_validate(clips, args):
    train = [c for c in clips if not args.groups or c.group in args.groups]
    measured = [c for c in clips if c.n >= 2 * RATE]
    people = sorted({str(c.person) for c in measured})
    unseen = []
    for fold in range(args.folds):
        held = set(people[fold::args.folds])
        judge = teach([c for c in train if c.split == 'train' and str(c.person) not in held], args.trust, args, args.seed + fold)
        unseen += [(c, judge) for c in measured if str(c.person) in held]
        of = dict((c.name, j) for c, j in unseen)
        for group in sorted({c.group for c, _ in unseen}):
            some = [c for c, _ in unseen if c.group == group]
            show(f'folds to {fold + 1}, {group}', figures(some, lambda c: judged(of[c.name])(c)))


def main(argv=None):
    args = arguments(argv)
    torch.set_num_threads(args.threads)
    clips, tell = read(args.data), evaluate.load_listener(args.listener)
    train = [c for c in clips if c.split == 'train' and (not args.groups or c.group in args.groups)]
    if args.folds:
        find_lags([c for c in clips if c.n >= 2 * RATE], tell, args.trust)
        cross_validate(clips, args)
        return
    names, told = {c.name for c in train}, {}
    find_lags([c for c in clips if c.n >= 2 * RATE and c.name not in names], tell, args.trust)
    judge = teach(train, args.trust, args, args.seed)
    for group in sorted({c.group for c in clips}):
        unseen = [c for c in clips if c.group == group and c.name not in names and c.n >= 2 * RATE]
        if unseen:
            show(f'{group}, by the listener', figures(unseen, lambda c: heard_openings(c, tell)))
            show(f'{group}, by the judge', figures(unseen, judged(judge)))
            bias = take_bias(judge, unseen, args.trust)
            told[group] = {**figures(unseen, judged(judge)), 'later_than_the_listener_ms': bias}
            show(f'{group}, less {bias} ms', told[group])
    weight, none = calibrate(judge, [c for c in clips if c.name not in names])
    if args.out:
        export(args.out, judge, weight, none, 400, {'training_data': args.training_data, 'figures': json.dumps(told)})
        print(f'{args.out}: {os.path.getsize(args.out)} bytes')


if __name__ == '__main__':
    main()
