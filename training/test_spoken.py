"""Tests of what spoken.py and visemes.py are made of; test.py runs them."""
import json
import os
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import numpy as np

import align
import espeak
import lips
import sound
import spoken
import texts
import visemes
from espeak import Sound
from phonemes import classes

here = os.path.dirname(os.path.abspath(__file__))
program, clip_folder = os.environ.get('KOUBO_PROGRAM'), os.environ.get('KOUBO_CLIPS')
shared = {}


def speaker():
    if 'speaker' not in shared:
        shared['speaker'] = espeak.Speaker()
    return shared['speaker']


def has_espeak():
    try:
        speaker()
    except SystemExit:
        return False
    return True


def the_mel_is_the_programs():
    if not program or not clip_folder:
        return 'no KOUBO_PROGRAM, or no KOUBO_CLIPS'
    with tempfile.TemporaryDirectory() as folder:
        film, wave, out = (os.path.join(folder, n) for n in ('film.mkv', 'sound.s16', 'out'))
        as_koubo_hears = ['-f', 's16le', '-ac', '1', '-ar', '16000']
        picture = os.path.join(clip_folder, 'square_512.mp4')
        subprocess.run(['ffmpeg', '-v', 'error', '-i', picture, '-vn', '-t', '4', *as_koubo_hears, wave], check=True)
        subprocess.run(['ffmpeg', '-v', 'error', '-i', picture, *as_koubo_hears, '-i', wave, '-map', '0:v', '-map', '1:a', '-c:v', 'copy',
                        '-c:a', 'pcm_s16le', '-t', '4', film], check=True)
        subprocess.run([program, 'dataset', film, picture, '-o', out, '-q'], check=True, stdout=subprocess.DEVNULL)
        clip = next(c for c in read_index(out)['clips'] if 'film.mkv' in c['name'])
        of_program = np.load(os.path.join(out, 'mel.npy'))[clip['mel']:clip['mel'] + clip['mel_n']].astype(int)
        own = sound.stored(sound.mel(np.fromfile(wave, np.int16) / 32768)).astype(int)
    assert abs(len(own) - len(of_program)) <= 1 and len(own) > 300, (len(own), len(of_program))
    n = min(len(own), len(of_program)) - 3  # the ends are mirrored, and may lie apart by some samples
    differs = np.abs(own[:n] - of_program[:n])
    assert differs.max() <= 1 and (differs > 0).mean() < 0.01, f'{differs.max()} levels away, {(differs > 0).mean():.3f} of all differ'


def sixteen_kilohertz_sound_the_same():
    t = np.arange(22050) / 22050
    out = sound.resample(np.sin(2 * np.pi * 440 * t) * np.hanning(22050), 22050)
    wanted = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000) * np.hanning(16000)
    assert len(out) == 16000 and np.abs(out - wanted).max() < 1e-3, np.abs(out - wanted).max()


def sounds_have_their_classes():
    for name, wanted in {'p': 'P', 'ph': 'P', 'bʰ': 'P', 'm': 'P', 'tɕh': 'SH', 'ts.': 'SH', 's.': 'SH', 'tsh': 'S', 'aɪ': 'A I', 'əʊ': 'O U', 'o-': 'MID', 'yɛ': 'U E',
                         'ɯᵝ': 'U', 'onɡ': 'O K', 'h': 'H', 'hw': 'H W', 'ʲ': 'H', 'th': 'T', 'θ': 'TH', 'ɔ̃': 'O', 'i̪': 'I', '(en)': '', '': '', 'uei': 'W E I'}.items():
        assert classes(name) == wanted.split(), f'{name}: {classes(name)}, wanted {wanted}'


def a_warp_is_found():
    random = np.random.default_rng(2)
    smooth = np.ones(9) / 9
    spoken_mel = 4 * np.stack([np.convolve(random.normal(0, 1, 208), smooth, 'valid') for _ in range(80)], 1)
    place = np.cumsum(np.interp(np.arange(280), [0, 100, 180, 280], [0.5, 0.5, 1.2, 0.5]))  # slower, faster, slower
    place *= 199 / place[-1]
    heard = np.stack([np.interp(place, np.arange(200), band) for band in spoken_mel.T], 1)
    (path, _), (other, _) = align.warp(align.features(heard), [align.features(spoken_mel), align.features(spoken_mel[:150])])
    assert other[-1] == 149, 'the shorter of two'
    assert np.abs(path - place).max() <= 3 and np.abs(path - place).mean() < 1, np.abs(path - place).max()
    assert set(np.diff(path)) <= {0, 1, 2} and path[0] == 0 and path[-1] == 199, path
    found = align.back(path, 200)
    assert np.abs(np.interp(found, np.arange(280), place) - np.arange(200)).mean() < 1, 'and back'


def mouth(is_open, wide):
    """(n, 41, 2): lips that are so far open and so much wider than at rest."""
    motion = np.zeros((len(is_open), 41, 2))
    motion[:, 31:40, 1] += np.asarray(is_open)[:, None]
    motion[:, 20, 0], motion[:, 30, 0] = -np.asarray(wide) / 2, np.asarray(wide) / 2
    return motion


OPEN = {'silence': 0.0, 'P': 0.0, 'T': 0.02, 'A': 0.06, 'I': 0.03, 'U': 0.015}
WIDE = {'I': 0.02, 'U': -0.02}


def rule(sounds, times):
    """Lips that do a thing of their own for each sound, slowly."""
    fine = np.arange(-10, int(100 * sounds[-1].end) + 10) / 100
    kinds = [next((s.kind for s in sounds if s.begin <= t < s.end), 'silence') for t in fine]
    curves = [np.convolve([of.get(k, 0.0) for k in kinds], np.ones(7) / 7, 'same') for of in (OPEN, WIDE)]
    return mouth(*(np.interp(times, fine, c) for c in curves))


def made_up_clips(n=24):
    random, clips = np.random.default_rng(3), []
    for i in range(n):
        kinds = ['silence'] + [str(random.choice(['P', 'T'] if k % 2 else ['A', 'I', 'U'])) for k in range(14)] + ['silence']
        ends = np.cumsum(random.uniform(0.08, 0.2, len(kinds)))
        sounds = [Sound(k, b, e, k.lower()) for k, b, e in zip(kinds, np.append(0, ends[:-1]), ends)]
        times = np.arange(int(ends[-1] * 25)) / 25
        # The second talker moves half as far.
        clips.append(SimpleNamespace(sounds=sounds, times=times, who=f's{i % 2}', motion=rule(sounds, times) * (1 - i % 2 / 2), split='train'))
    return clips


def lips_do_what_they_have_learnt():
    clips = made_up_clips()
    model = lips.fit(clips[:16])
    figures = lips.measure(model, clips[16:])
    assert figures['opening'] > 0.85 and figures['width'] > 0.95, figures
    seconds = np.arange(0, 3, 0.01)
    names = ['silence', 'T', 'A', 'P', 'A', 'T', 'I', 'T', 'U', 'silence']
    ends = [0.4, 0.5, 0.7, 0.78, 1.0, 1.1, 1.3, 1.4, 2.4, 3.0]
    sounds = [Sound(k, b, e, k) for k, b, e in zip(names, [0] + ends, ends)]
    told = model.tell(sounds, seconds)
    is_open, wide = lips.opening(told), lips.width(told)
    near = lambda t: int(t * 100)
    assert is_open.min() > -1e-6 and np.abs(is_open[near(0.71):near(0.77)]).max() < 1e-6, 'closed for P, and never through each other'
    assert is_open[near(0.6)] > is_open[near(1.2)] > 0.01 and wide[near(1.2)] > 0.005 > -0.005 > wide[near(1.7)], 'A, I, U'
    assert is_open[near(1.5):near(2.3)].min() > 0.5 * np.mean([OPEN['U'], OPEN['U'] / 2]), 'a long U stays open'
    assert np.abs(is_open[:near(0.05)]).max() < 1e-6 and np.abs(lips.mirrored(told) - told).max() < 1e-9, 'silence; symmetric'


def closings_are_counted():
    sounds = [('silence', 0, 0.5, ''), ('P', 0.5, 0.6, 'b'), ('A', 0.6, 1.0, 'a'), ('T', 1.0, 1.1, 't'), ('I', 1.1, 1.5, 'i'), ('P', 1.5, 1.6, 'm'), ('U', 1.6, 2.0, 'u')]
    times = np.arange(60) / 25
    is_open = np.interp(times, [0.4, 0.55, 0.8, 1.05, 1.3, 1.55, 1.8], [0.05, 0.0, 0.06, 0.02, 0.03, 0.02, 0.01])
    motion = mouth(is_open, np.interp(times, [0.8, 1.3, 1.8], [0.0, 0.02, -0.03]))
    rows = {what: figures for what, _, figures in visemes.table(visemes.collect([{'phones': sounds}], lambda _: (motion, 25)))}
    assert rows['b p']['closed'] == 1 and rows['m']['closed'] == 0 and rows['t d n l k g (shall not)']['closed'] == 0, rows
    assert rows['u']['narrower than i'] == 1 and rows['i']['less open than a'] == 1 and rows['u']['less open than a'] == 1, rows
    assert visemes.larger([1, 2], [1, 2]) == 0.5


def voices_close_their_lips_in_time():
    if not has_espeak():
        return 'no espeak-ng'
    samples, sounds = espeak.speak(speaker(), '[[apa aba ama]]', 'gmw/en')
    assert [s.begin for s in sounds[1:]] == [s.end for s in sounds[:-1]] and sounds[0].begin == 0, 'no gaps'
    assert abs(sounds[-1].end - len(samples) / sound.RATE) < 1e-3, 'to the end'
    closed = [s for s in sounds if s.kind == 'P']
    assert [s.name for s in closed] == list('pbm'), sounds
    loud = lambda a, b: np.sqrt((samples[int(a * 16000):int(b * 16000)] ** 2).mean())
    for s in closed:  # the middle of a closure is softer than what is around it
        middle = (s.begin + s.end) / 2
        assert loud(middle - 0.01, middle + 0.01) < 0.6 * min(loud(s.begin - 0.05, s.begin - 0.02), loud(s.end + 0.03, s.end + 0.06)), s
    assert loud(closed[0].begin + 0.025, closed[0].begin + 0.045) < 0.05 * loud(0.3, 0.4), 'p begins with its silence, not with its burst'


def texts_are_what_they_should_be():
    assert texts.grid_sentence('a__s1__brbk7n.mpg') == 'bin red by k seven now'
    assert texts.grid_sentence('lwwazs.mpg') == 'lay white with [[eI]] zero soon'
    assert texts.grid_sentence('01549.mp4') is None and texts.grid_sentence('xrbk7n.mpg') is None
    assert set(spoken.TRAIN_VOICES).isdisjoint(spoken.VAL_VOICES + spoken.TEST_VOICES), 'voices of val and test are never trained on'
    if not has_espeak():
        return None
    for some in np.array_split(texts.SYLLABLES, 20):
        _, events = speaker().speak(' '.join(f'{s}1' for s in some), spoken.MANDARIN, 400)
        assert events and not any(name.startswith('(') for _, name in events), f'not all of {some} are read as Mandarin: {events}'
    return None


def read_index(path):
    with open(os.path.join(path, 'index.json'), encoding='utf-8') as f:
        return json.load(f)


def voices_teach_lips():
    """The whole: clips of GRID, here themselves made by espeak-ng, to folders of training data."""
    if not has_espeak():
        return 'no espeak-ng'
    with tempfile.TemporaryDirectory() as folder:
        data, out, warped, test = (os.path.join(folder, n) for n in ('data', 'out', 'warped', 'test'))
        clips = spoken.Folder('grid', '')
        for i, stem in enumerate(['bbaf2n', 'lgbm4p', 'pwip6a', 'srwb1s', 'bbim9p', 'pgbe4n']):
            samples, sounds = espeak.speak(speaker(), texts.grid_sentence(stem), spoken.ENGLISH + '+m3', 140 + 5 * i)
            clips.add(f'x__s{1 + i % 2}__{stem}.mpg', samples, rule(sounds, spoken.frame_times(samples)), 'val' if i == 5 else 'train')
        # A clip of another group, whose lips do nonsense, must not be learnt from.
        clips.add('x__s9__bbaf2n.mpg', samples, mouth(np.random.default_rng(1).random(40), np.zeros(40)), 'train')
        clips.clips[-1]['group'] = 'other'
        clips.write(data, list(range(41)))
        subprocess.run([sys.executable, os.path.join(here, 'spoken.py'), '--data', data, '--out', out, '--minutes', '0.5', '--warped', warped, '--warped-voices', '1',
                        '--test', test, '--test-syllables', '12'], check=True, stdout=subprocess.DEVNULL)
        for path, group, least in ((out, 'spoken', 6), (warped, 'warped', 5), (test, 'mandarin', 12)):
            index = read_index(path)
            mel, motion = (np.load(os.path.join(path, f'{k}.npy')) for k in ('mel', 'motion'))
            found = index['clips']
            assert index['version'] == 2 and len(found) >= least and {c['group'] for c in found} == {group}, found
            assert mel.dtype == np.uint8 and motion.dtype == np.float32 and motion.shape[1:] == (41, 2) and np.isfinite(motion).all()
            assert sum(c['n'] for c in found) == len(motion) and sum(c['mel_n'] for c in found) == len(mel)
            assert all(abs(c['mel_n'] / 80 - c['n'] / 25) < 0.06 for c in found), 'as long as their speech'
            trained, checked = ({c['cluster'] for c in found if c['split'] == s} for s in ('train', 'val'))
            assert not trained & checked, 'voices to check with are others'
        assert not [c for c in read_index(warped)['clips'] if 's9' in c['name'] or 'pgbe4n' in c['name']]
        rows = {what: figures for what, _, figures in visemes.table(visemes.collect(visemes.read_test(test), lambda c: (c['motion'], c['fps'])))}
        assert rows['b p']['closed'] == 1 and rows['u']['narrower than i'] > 0.9, rows


TESTS = [the_mel_is_the_programs, sixteen_kilohertz_sound_the_same, sounds_have_their_classes, a_warp_is_found, lips_do_what_they_have_learnt,
         closings_are_counted, voices_close_their_lips_in_time, texts_are_what_they_should_be, voices_teach_lips]
