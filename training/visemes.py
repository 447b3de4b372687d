#!/usr/bin/python3
"""Do lips close for b, p and m, get narrow for u, ü and o, and open for a, where these are spoken?

    python3 training/visemes.py --test TEST koubo-lips.safetensors…

TEST is what spoken.py --test made: Mandarin syllables in sentences, with the times of all sounds. A table for each listener, and before
them one of the lips that the folder itself has (which the rules of lips.py move, so they say what can be asked for).
"""
import argparse
import json
import os

import numpy as np

import lips
from evaluate import load_listener
from phonemes import letters
from sound import unstored

RATE = 40            # samples a second that a listener tells
CLOSED = 0.004       # opening of lips that count as closed, as models/README.md has it
NEAR = 0.06          # seconds before a closure and after it in which the lips may be closed
SHORTEST = 0.06      # seconds of a vowel that is looked at
VOWELS = {'a': 'aɑ', 'i': 'i', 'u': 'u', 'ü': 'y', 'o': 'oɔ'}
CONSONANTS = {'b p': 'pb', 'm': 'm', 't d n l k g (shall not)': 'tdnlkɡ'}


def read_test(folder):
    """Clips with `phones` [(class, begin, end, name)], `speech` (mel_n, 80) and `motion` (n, 41, 2)."""
    with open(os.path.join(folder, 'index.json'), encoding='utf-8') as f:
        clips = [c for c in json.load(f)['clips'] if 'phones' in c]
    if not clips:
        raise SystemExit(f'{folder} knows no times of sounds; spoken.py --test makes such a folder')
    mels, motions = (np.load(os.path.join(folder, f'{k}.npy'), mmap_mode='r') for k in ('mel', 'motion'))
    for c in clips:
        c['speech'] = unstored(mels[c['mel']:c['mel'] + c['mel_n']])
        c['motion'] = np.array(motions[c['frame']:c['frame'] + c['n']], np.float64)
    return clips


def least(curve, rate, begin, end):
    """The smallest of the curve's values in a stretch of seconds; its ends lie between values."""
    times = np.concatenate([[begin, end], np.arange(np.ceil(begin * rate), np.floor(end * rate) + 1) / rate])
    return np.interp(times * rate, np.arange(len(curve)), curve).min()


def collect(clips, tell):
    """{('closing' | 'opening' | 'width', which): [values]}; tell: a clip to (motion, samples a second)."""
    found = {}
    for clip in clips:
        motion, rate = tell(clip)
        is_open, wide = lips.opening(motion), lips.width(motion)
        for _, begin, end, name in clip['phones']:
            sounds = letters(name)
            if len(sounds) != 1 and not (sounds and sounds[-1] == 'h'):
                continue
            for kind, members in CONSONANTS.items():
                if sounds[0] in members:
                    found.setdefault(('closing', kind), []).append(least(is_open, rate, begin - NEAR, end + NEAR))
            for kind, members in VOWELS.items():
                if sounds[0] in members and end - begin >= SHORTEST:
                    for name_of, curve in (('opening', is_open), ('width', wide)):
                        middle = np.interp((begin + end) / 2 * rate, np.arange(len(curve)), curve)
                        found.setdefault((name_of, kind), []).append(middle)
    return found


def heard_by(path):
    """What a listener tells of a clip."""
    tell = load_listener(path)
    return lambda clip: (tell(clip['speech'].astype(np.float32)), RATE)


def larger(a, b):
    """In which part of all pairs the one of a is larger: 0.5 is chance."""
    if not a or not b:
        return float('nan')
    a, b = np.array(a)[:, None], np.array(b)[None]
    return float((a > b).mean() + 0.5 * (a == b).mean())


def table(found):
    """[(what, n, {name: figure})]"""
    rows = []
    for kind in CONSONANTS:
        values = np.array(found.get(('closing', kind), []))
        if len(values):
            rows.append((kind, len(values), {'closed': (values < CLOSED).mean(), 'least opening': values.mean()}))
    i_wide, a_open = found.get(('width', 'i'), []), found.get(('opening', 'a'), [])
    for kind in VOWELS:
        wide, opened = found.get(('width', kind), []), found.get(('opening', kind), [])
        if not wide:
            continue
        figures = {'width': np.mean(wide), 'opening': np.mean(opened)}
        if kind in 'uüo':
            figures['narrower than i'] = larger(i_wide, wide)
        if kind in 'iuü':
            figures['less open than a'] = larger(a_open, opened)
        rows.append((kind, len(wide), figures))
    return rows


def show(title, rows):
    print(title)
    for what, n, figures in rows:
        print(f'  {what:24} {n:5}  ' + '  '.join(f'{k} {v:.3f}' for k, v in figures.items()))


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--test', required=True, help='folder that spoken.py --test made')
    p.add_argument('--clips', type=int, default=0, help='look at so many of its clips only')
    p.add_argument('listeners', nargs='*', help='koubo-lips.safetensors, of which several may be compared')
    args = p.parse_args(argv)
    clips = read_test(args.test)[:args.clips or None]
    show('lips of the folder', table(collect(clips, lambda c: (c['motion'], c['fps']))))
    for path in args.listeners:
        show(path, table(collect(clips, heard_by(path))))


if __name__ == '__main__':
    main()
