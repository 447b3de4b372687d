#!/usr/bin/env python3
"""Tests of the recipe, as TAP: the parts against plain computations, then the whole of it on a tiny made-up dataset.

    meson test -C build-test training/recipe

KOUBO_PROGRAM names the built program, KOUBO_CLIPS the folder of clips that the build made (tests/clips). KOUBO_TEST chooses the
tests that have it in their name.
"""
import csv
import json
import os
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import numpy as np
import torch

import data
import evaluate
import follow
import judge
import listener
import test_spoken
from data import TRACK_POINTS, Batch, at, augment_mel, check_split, columns_at, mirror_order, opening
from network import load, of_arrays, read_safetensors, write_safetensors

here = os.path.dirname(os.path.abspath(__file__))
program = os.environ.get('KOUBO_PROGRAM')
folder = tempfile.TemporaryDirectory()


def motion_of(high, wide=0.0):
    """(..., 41, 2): lips that are open by `high` (the lower lip does two thirds of it) and wider by `wide`, the chin along."""
    high, wide = np.asarray(high, float), np.asarray(wide, float)
    motion = np.zeros((*high.shape, 41, 2))
    for ring in (0, 20):
        motion[..., ring + 1:ring + 10, 1] = -high[..., None] / 3
        motion[..., ring + 11:ring + 20, 1] = 2 * high[..., None] / 3
        motion[..., ring, 0], motion[..., ring + 10, 0] = -wide / 2, wide / 2
    motion[..., 40, 1] = high / 2
    return motion


def make_dataset(path, n_clips=6, n=40, seed=1):
    """People whose mouths open as far as their speech is loud, and become narrower then."""
    random = np.random.default_rng(seed)
    clips, mels, motions, rows = [], [], [], 0
    for i in range(n_clips):
        mel_n = int(n * 3.2) + 8
        loud = np.convolve(random.random(mel_n + 19), np.ones(20) / 20, 'valid')
        loud = (loud - loud.min()) / (loud.max() - loud.min())
        mels.append(np.repeat(60 * loud[:, None], 80, 1))
        high = 0.06 * np.interp(3.2 * np.arange(n), np.arange(mel_n), loud)
        motions.append(motion_of(high, -high / 2))
        clips.append({'name': f'{i}.mp4', 'frame': i * n, 'n': n, 'fps': 25, 'mel': rows, 'mel_n': mel_n, 'mel_lead': 0.0,
                      'split': 'val' if i >= n_clips * 2 // 3 else 'train', 'group': 'other', 'cluster': -1})
        rows += mel_n
    np.save(os.path.join(path, 'mel.npy'), np.concatenate(mels).astype(np.float32))
    np.save(os.path.join(path, 'motion.npy'), np.concatenate(motions).astype(np.float32))
    with open(os.path.join(path, 'index.json'), 'w', encoding='utf-8') as f:
        json.dump({'version': 2, 'clips': clips}, f)


def equal(a, b, what):
    assert a == b, f'{what}: {a}, wanted {b}'


def near(a, b, limit, what):
    distance = float((torch.as_tensor(a) - torch.as_tensor(b)).abs().max())
    assert distance <= limit, f'{what}: {distance} away, at most {limit}'


def the_split_may_not_leak():
    def clip(**other):
        return SimpleNamespace(**{'name': 'a', 'cluster': 3, 'group': 'arabic', **other})
    check_split([clip()], [clip(name='b', cluster=4)])
    check_split([clip()], [clip(name='b', group='grid')])  # clusters are numbered in each group
    for leak in (clip(name='b'), clip(cluster=4)):
        try:
            check_split([clip()], [leak])
        except SystemExit:
            continue
        raise AssertionError(f'{leak} beside {clip()} is no leak?')


def frames_find_their_sound():
    ramp = 0.02 * torch.arange(200.0) - 2
    clips = [SimpleNamespace(mel=ramp.repeat(80, 1), lead=lead, step=step, motion=torch.randn(50, 41, 2)) for lead, step in ((0.0, 3.2), (7.5, 80 / 30))]
    for late, speed in ((0.0, 1.0), (6.4, 1.0), (-1.6, 1.25)):  # columns that the speech is late; how much faster all is
        batch = Batch([(clips[0], 5, 20), (clips[1], 10, 12)], [late, late], 6, [speed, speed])
        heard = at(batch.mel.mean(1)[:, ::2, None], batch.place)[..., 0]
        for k, (clip, first, n) in enumerate(((clips[0], 5, 20), (clips[1], 10, 12))):
            near(heard[k, :n], 0.02 * (clip.lead + late + clip.step * (first + torch.arange(n))) - 2, 1e-4, f'{late} columns late, {speed} as fast')
            near(batch.motion[k, :n], clip.motion[first:first + n], 0, 'motion')
    equal(batch.there.sum(1).tolist(), [20.0, 12.0], 'frames that are there')
    near(columns_at(ramp[None], torch.tensor([-3.0, 0.5, 1e4]))[0], [-2, -1.99, 1.98], 1e-6, 'ends are repeated')


def the_mirror_is_its_own_inverse():
    order = mirror_order()
    equal([order[i] for i in order], list(range(41)), 'twice')
    motion = torch.randn(3, 41, 2)
    twice = data.symmetric(data.symmetric(motion))
    near(twice, data.symmetric(motion), 1e-6, 'symmetric already')
    near(opening(twice), opening(motion), 1e-6, 'as open')
    near(data.width(twice), data.width(motion), 1e-6, 'as wide')


def an_open_mouth_measures_open():
    motion = torch.from_numpy(motion_of([0.01, 0.05], [0.02, -0.01]))
    near(opening(motion), [0.01, 0.05], 1e-9, 'open')
    near(data.width(motion), [0.02, -0.01], 1e-9, 'wide')


def a_changed_voice_is_still_a_mel():
    mel = torch.randn(6, 80, 50).clamp(-4, 4)
    changed = augment_mel(mel, torch.Generator().manual_seed(1))
    equal(tuple(changed.shape), (6, 80, 50), 'shape')
    assert float(changed.abs().max()) <= 4 and float((changed - mel).abs().mean()) > 0.1
    near(augment_mel(mel, torch.Generator().manual_seed(1)), changed, 0, 'seeded')


def a_clip_moves_to_where_it_fits():
    clips = [SimpleNamespace(group='other'), SimpleNamespace(group='grid')]
    lags = listener.Lags(clips, ['grid'])
    for _ in range(8):  # speech that is two frames late fits best there, wherever the clip stands
        for i in (0, 1):
            lags.see(i, lags.of(i), 1 - 0.1 * np.abs(lags.SHIFTS + lags.of(i) - 2))
    equal([lags.of(0), lags.of(1)], [2.0, 0.0], 'a trusted clip stays')


def the_program_makes_what_training_reads():
    clips = os.environ.get('KOUBO_CLIPS')
    if not program or not clips:
        return 'no KOUBO_PROGRAM, or no KOUBO_CLIPS'
    one, other, late, out = (os.path.join(clips, 'square_512.mp4'), os.path.join(clips, 'uneven_700.mp4'),
                             os.path.join(folder.name, 'late.mkv'), os.path.join(folder.name, 'own'))
    # Pictures that begin 0.2 s after their sound.
    subprocess.run(['ffmpeg', '-v', 'error', '-itsoffset', '0.2', '-i', one, '-i', one, '-map', '0:v', '-map', '1:a', '-c', 'copy', late],
                   check=True)
    subprocess.run([program, 'dataset', one, late, other, '-o', out, '-q'], check=True, stdout=subprocess.DEVNULL)
    train, val = data.read([out])
    equal(([c.name.split()[1] for c in train], [c.name.split()[1] for c in val]), (['square_512.mp4#0', 'late.mkv#0'], ['uneven_700.mp4#0']), 'clips')
    near(train[1].lead - train[0].lead, 16, 2, 'columns that the sound is ahead, AAC priming included')
    near(80 / val[0].step, 22.5, 0.1, 'frame rate')
    assert 0 < float(opening(val[0].motion).std()) < 0.1


def the_curve_is_what_the_engine_does():
    knots = np.array([[0.0, 0.0], [0.01, 0.0], [0.1, 0.18]])
    near(evaluate.curve_at(knots, np.array([-1, 0, 0.01, 0.055, 0.1, 0.2])), [0, 0, 0, 0.09, 0.18, 0.28], 1e-6, 'curve')


def speech_moves_lips():
    out = os.path.join(folder.name, 'run')
    command = [sys.executable, os.path.join(here, 'train.py'), '--data', folder.name, '--out', out, '--minutes', '0', '--report', '10', '--batch', '8', '--width', '32', '--seeds', '1,2',
               '--name', 'other', '--training-data', 'made up', '--threads', '1']
    subprocess.run(command + ['--steps', '10'], check=True, stdout=subprocess.DEVNULL)
    told = subprocess.run(command + ['--steps', '40'], check=True, capture_output=True, text=True).stdout
    with open(os.path.join(out, 'log.csv'), newline='', encoding='utf-8') as f:
        log = [(int(step), dict(v.split('=') for v in values)) for seed, step, _, *values in csv.reader(f) if seed == '2']
    equal([step for step, v in log if 'shape' in v], list(range(10, 41, 10)), 'resumed, not begun again')
    path = os.path.join(out, 'other.safetensors')
    network, arrays, metadata = load(path)
    figures = json.loads(metadata['figures'])['all']
    assert figures['opening_lag_0'] > 0.8 and figures['width_lag_0'] > 0.8 and 0.5 < figures['amplitude'] < 2, told
    equal((metadata['format'], metadata['name'], metadata['rate'], metadata['training_data'], figures['clips']), ('koubo-motion', 'other', '40', 'made up', 2), 'contract')
    columns, margin = json.loads(metadata['inputs'])['mel'][3], int(metadata['margin'])
    equal({op['op'] for op in json.loads(metadata['graph'])}, {'conv2d'}, 'operations')
    with torch.no_grad():
        silent = network(mel=torch.full((1, 80, 1, columns), -4.0))
        near(silent[..., margin:-margin], torch.zeros(1, 80, 1, columns // 2 - 2 * margin), 1e-5, 'silence')
        # What is behind the margin is the same in any run; what the opening becomes there is told by the curve.
        mel = torch.randn(1, 80, 1, columns)
        wanted, later = network(mel=mel), network(mel=torch.cat([torch.zeros(1, 80, 1, 80), mel[..., :-80]], 3))
        near(later[..., 40 + margin:-margin], wanted[..., margin:-margin - 40], 1e-4, 'a stretch that begins elsewhere')
        told = evaluate.load_listener(path)(mel[0, :, 0].T.numpy())
        equal(told.shape, (columns // 2, 40, 2), 'a sample for every second column')
        plain = evaluate.opening(wanted[0, :, 0].T.reshape(-1, 40, 2).numpy())
        near(evaluate.opening(told)[40:-40], evaluate.curve_at(np.array(json.loads(metadata['curve'])), plain)[40:-40], 1e-4, 'the opening, through the curve')
    near(opening(torch.from_numpy(arrays['opening'])), 1, 1e-3, 'opens by 1')
    if program:
        files = {k: os.path.join(folder.name, k) for k in ('mel.npy', 'out.npy')}
        np.save(files['mel.npy'], mel.numpy())
        subprocess.run([program, 'model', 'run', path, '--input', f"mel={files['mel.npy']}", '-o', files['out.npy'], '--precision', 'f32', '-q'], check=True)
        near(np.load(files['out.npy']), wanted, 1e-4, 'engine against PyTorch')


def measures_are_the_programs():
    """tests/lab/test_measure.c has these curves and figures too."""
    k = np.arange(200)
    truth = (0.04 * abs(np.sin(0.21 * k)) * (0.7 + 0.3 * np.sin(0.05 * k))).astype(np.float32)
    test = (0.03 * abs(np.sin(0.21 * np.maximum(k - 2, 0))) + 0.006 * np.sin(0.37 * k) + 0.003).astype(np.float32)
    truth[50:53] = test[120] = np.nan
    best, lag = evaluate.best_lag(truth, test)
    equal((lag, evaluate.closures(truth, test)), (2, (15, 12, 12)), 'lag and closures')
    near([best, evaluate.correlation(truth, test), evaluate.amplitude(truth, test)], [0.828097, 0.589196, 1.013168], 1e-5, 'figures')
    equal(evaluate.closures(truth, 0 * test), (15, 3, 3), 'a mouth that never opens')


def a_listener_is_evaluated():
    """One that says loudness is an opening, over people whose mouths open as far as their speech is loud."""
    random = np.random.default_rng(4)
    opens = np.zeros((40, 2), np.float32)
    opens[21:30, 1], opens[31:40, 1] = -0.5, 0.5
    clips, motion, mels = [], [], []
    for i in range(4):
        loud = np.clip(np.convolve(random.random(171), np.ones(12) / 12, 'valid')[:160] * 3 - 1, 0, 1)
        mels.append(np.repeat(np.round(63 * loud).astype(np.uint8)[:, None], 80, 1))
        moved = 0.05 * np.interp(np.arange(50) * 3.2, np.arange(160), loud)[:, None, None] * opens
        motion.append(np.concatenate([moved, np.zeros((50, 1, 2))], 1).astype(np.float32))
        clips.append({'name': str(i), 'frame': 50 * i, 'n': 50, 'fps': 25, 'mel': 160 * i, 'mel_n': 160, 'mel_lead': 0.0, 'split': 'val',
                      'group': 'own', 'cluster': i})
    path, file = os.path.join(folder.name, 'version2'), os.path.join(folder.name, 'loud.safetensors')
    os.makedirs(path)
    for name, array in (('motion', motion), ('mel', mels)):
        np.save(os.path.join(path, f'{name}.npy'), np.concatenate(array))
    with open(os.path.join(path, 'index.json'), 'w', encoding='utf-8') as f:
        json.dump({'version': 2, 'clips': clips}, f)
    ops = [{'op': 'conv2d', 'input': 'mel', 'output': 'motion', 'weight': 'w', 'bias': 'b', 'stride': [1, 2], 'padding': [0, 0]}]
    weight = (opens.flatten()[:, None, None, None] * np.full((1, 1, 80, 1), 0.05 / 640)).astype(np.float32)
    write_safetensors(file, {'w': weight, 'b': (0.025 * opens).flatten().astype(np.float32), 'opening': opens}, {
        'format': 'koubo-motion', 'version': '1', 'graph': json.dumps(ops), 'inputs': json.dumps({'mel': [-1, 1, 80, 21]}),
        'output': json.dumps({'motion': [-1, 80, 1, 11]}), 'rate': '40', 'mel_offset_s': '0', 'points': json.dumps(TRACK_POINTS),
        'curve': '[[0, 0], [1, 1]]', 'gain': '1.0'})
    figures = evaluate.evaluate(evaluate.read_clips(path), evaluate.load_listener(file))['own']
    assert figures['opening_lag_0'] > 0.95 and figures['closure_f1'] > 0.95, figures
    near([figures['amplitude'], figures['smoothness']], [1, 1], 0.1, 'amplitude and smoothness')
    assert abs(figures['swapped']) < 0.4 and figures['chance'] > figures['swapped'], figures
    late = evaluate.evaluate(evaluate.read_clips(path), evaluate.load_listener(file), {str(i): 8 for i in range(4)})['own']
    assert late['opening_lag_0'] < 0.6 < late['opening_best'], late


def in_step(n_clips=8, n=100, seed=3):
    """Clips whose mouths open, and narrow, with the loudness of some bands."""
    random = np.random.default_rng(seed)
    clips = []
    for i in range(n_clips):
        curves = [np.clip(np.convolve(random.random(2 * n + 40), np.ones(8) / 8, 'same') * 3 - 1, 0, 1) for _ in range(2)]
        mel = np.repeat(np.stack(curves, 1), 40, 1) * 6 - 3
        lips = np.zeros((n, 41, 2))
        lips[:, evaluate_below, 1], lips[:, 0, 0] = curves[0][:2 * n:2, None], curves[1][:2 * n:2]
        clips.append(judge.SimpleNamespace(
            name=str(i), group='own', split='train' if i < 6 else 'val', person=str(i), n=n, lead=0.0, lag=0, heard=1.0, told=None,
            lips=torch.from_numpy((lips - lips.mean(0)).reshape(n, 82).astype(np.float32)), mel=torch.from_numpy(mel.astype(np.float32))))
    return clips


evaluate_below = [40 - k for k in range(1, 10)]


def the_judge_learns_what_goes_together():
    clips = in_step()
    args = judge.arguments(['--data', '', '--listener', '', '--steps', '60', '--batch', '8', '--length', '64'])
    taught = judge.teach(clips[:6], ['own'], args, 1)
    figures = judge.figures(clips[6:], judge.judged(taught))
    equal((figures['clips'], figures['told'], figures['within_1']), (2, 1.0, 1.0), 'clips told from themselves five frames later')
    late = clips[7]
    late.lead += 2 * 8  # its lips are those of eight moments later: the sound comes early
    fits, n = judge.agreements(taught, late)
    equal((int(fits.argmax()) - judge.LAG, n), (-8, late.n), 'an early sound')
    each, other = judge.posterior(fits, n, 0.5, 0.2, 400)
    near(each.sum() + other, 1, 1e-6, 'probabilities')
    path = os.path.join(folder.name, 'judge.safetensors')
    judge.export(path, taught, 0.5, 0.2, 400, {'training_data': 'made up'})
    arrays, meta = read_safetensors(path)
    equal(json.loads(meta['output'])['of_mel'], [-1, 32, 1, 256], 'the shape promised')
    equal(arrays['l.0.weight'].shape, (48, 82, 1, 5), 'a weight')


def the_judge_is_the_programs():
    """What koubo eval --sync says of a film, said by PyTorch with the same file of the same film's dataset."""
    file = os.path.join(here, '..', 'models', 'koubo-sync.safetensors')
    if not program or not os.path.exists(file):
        return 'no KOUBO_PROGRAM, or no koubo-sync.safetensors'
    film, out = os.path.join(here, '..', 'tests', 'clips', 'grid_lbax4n.mpg'), os.path.join(folder.name, 'film')
    other = film.replace('lbax4n', 'brbk7n')
    subprocess.run([program, 'dataset', '-q', '-o', out, film, other], check=True, stdout=subprocess.DEVNULL)
    said = json.loads(subprocess.run([program, 'eval', '--sync', film, '--json', '-q'], check=True, capture_output=True).stdout)
    arrays, meta = read_safetensors(file)
    arrays['l.0.weight'] = arrays['l.0.weight'] * judge.UNIT
    same = judge.Judge().eval()
    ops = json.loads(meta['graph'])
    same.lips, same.speech = (of_arrays([op for op in ops if op['weight'].startswith(part) or op['output'] == last], arrays)
                              for part, last in (('l.', 'of_lips'), ('s.', 'of_mel')))
    clip = next(c for c in judge.read(out) if 'lbax4n' in c.name)
    fits, n = judge.agreements(same, clip)
    near([fits.max(), (fits.argmax() - judge.LAG) * 0.025], [said['agreement'], said['offset_ms'] / 1000], 0.02, 'agreement and offset')


def faces(n_people=12, n=40, seed=5):
    """People who turn their heads and whose chins go half as far as their lips."""
    random = np.random.default_rng(seed)
    other = follow.partners()
    mean = random.uniform(0.2, 0.8, (follow.N_POINTS, 3))
    mean[follow.RIGID[:10], :2] = follow.UNITS
    mean[follow.PLACE[10], :2], mean[follow.PLACE[152], :2] = (0.5, 0.1), (0.5, 0.95)
    mean = (mean + mean[other] * [-1, 1, 1] + [1, 0, 0]) / 2
    for _ in range(n_people):
        frames = np.repeat(mean[None], n, 0)
        frames[:, follow.LIPS, :2] += random.normal(0, 0.02, (n, 40, 2))
        lower = frames[:, follow.PLACE[17], 1] - mean[follow.PLACE[17], 1]
        for point in follow.MOVED:
            frames[:, follow.PLACE[point], 1] += 0.5 * lower
        posed = []
        for frame in frames:
            turn, _ = np.linalg.qr(np.eye(3) + random.normal(0, 0.1, (3, 3)))
            turn *= np.sign(np.diag(turn))
            posed.append(random.uniform(100, 300) * frame @ turn.T + random.normal(0, 50, 3))
        yield frames, np.stack(posed)


def a_head_that_turns_moves_no_lips():
    for frames, posed in faces(2):
        near(follow.displacements(follow.canonical(posed))[0], follow.displacements(frames)[0], 2e-3, 'lips without the pose')


def the_chin_follows():
    people = [follow.canonical(posed) for _, posed in faces()]
    weights, figures = follow.fit(people, 1e-6)
    assert min(v[1] for k, v in figures['explained'].items() if k != 'depth of the lips') > 0.98, figures
    chin = weights[:, 3 * follow.MOVED.index(152) + 1]
    near(chin[2 * 15 + 1], 0.5, 0.02, 'of the lower lip')
    near(np.delete(chin, 31), 0, 0.02, 'of the others')
    path = os.path.join(folder.name, 'follow.safetensors')
    follow.export(path, weights, figures, 'made up')
    arrays, metadata = read_safetensors(path)
    near(arrays['moved'][follow.MOVED.index(152), 1], chin, 1e-3, 'written')
    equal((arrays['lips_depth'].shape, json.loads(metadata['points'])[20:22]), ((40, 80), [57, 43]), 'written')


def tracks_are_read():
    clips = os.environ.get('KOUBO_CLIPS')
    if not program or not clips:
        return 'no KOUBO_PROGRAM, or no KOUBO_CLIPS'
    tracks, out = os.path.join(folder.name, 'tracks'), os.path.join(folder.name, 'own.safetensors')
    subprocess.run([program, 'preprocess', '-q', '-o', tracks, os.path.join(clips, 'square_512.mp4'), os.path.join(clips, 'two_people_720p.mp4')],
                   check=True, stdout=subprocess.DEVNULL)
    read = [frames for name in sorted(os.listdir(tracks)) for frames in follow.read_track(os.path.join(tracks, name))]
    equal(len(read), 3, 'faces')
    for frames in read:
        right, left, chin = (frames[:, follow.PLACE[i]] for i in (33, 263, 152))
        assert (right[:, 0] < left[:, 0]).all() and (chin[:, 1] > right[:, 1]).all(), 'a face'
        assert abs(frames[..., 2]).max() < 2 * np.ptp(frames[..., 0]), 'its depth'
    subprocess.run([sys.executable, os.path.join(here, 'follow.py'), '--tracks', tracks, '--out', out], check=True, stdout=subprocess.DEVNULL)
    lower, chin = (json.loads(read_safetensors(out)[1]['figures'])['open by 0.08'][k] for k in ('lower lip', 'chin'))
    assert 0.2 * lower < chin[1] < lower, (lower, chin)


def main():
    tests = [the_split_may_not_leak, frames_find_their_sound, the_mirror_is_its_own_inverse, an_open_mouth_measures_open,
             a_changed_voice_is_still_a_mel, a_clip_moves_to_where_it_fits, the_program_makes_what_training_reads,
             the_curve_is_what_the_engine_does, speech_moves_lips, measures_are_the_programs, a_listener_is_evaluated,
             the_judge_learns_what_goes_together, the_judge_is_the_programs,
             a_head_that_turns_moves_no_lips, the_chin_follows, tracks_are_read, *test_spoken.TESTS]
    wanted = os.environ.get('KOUBO_TEST', '')
    tests = [test for test in tests if wanted in test.__name__]
    if not tests:
        print(f"1..0 # SKIP no test with '{wanted}' in its name")
        return
    make_dataset(folder.name)
    torch.manual_seed(1)
    print(f'1..{len(tests)}', flush=True)
    failed = 0
    for i, test in enumerate(tests, 1):
        try:
            skipped = test()
            print(f"ok {i} - {test.__name__}{f' # SKIP {skipped}' if skipped else ''}", flush=True)
        except (Exception, SystemExit) as error:
            failed += 1
            print(f'# {type(error).__name__}: {error}\nnot ok {i} - {test.__name__}', flush=True)
    sys.exit(failed > 0)


if __name__ == '__main__':
    main()
