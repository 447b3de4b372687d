#!/usr/bin/python3
"""Training data out of espeak-ng's voices and of what lips do in films: for languages that one's own films lack.

    python3 training/spoken.py --data DATASET --out SPOKEN --minutes 60
    python3 training/spoken.py --data DATASET --out SPOKEN --warped WARPED --test TEST

DATASET holds clips of the GRID corpus, whose names tell what is said (brbk7n: "bin red by k seven now"). espeak-ng says the same, and
laying one sound over the other tells when each speech sound is in the clip; from that is learnt what lips do for each
(lips.py). SPOKEN gets sentences in many languages (texts.py) in espeak-ng's voices with the lips that go with them; WARPED gets the
clips' own motion laid onto espeak-ng's voices that say the same sentence; TEST gets Mandarin in voices that are in neither, for
visemes.py. They are folders as `koubo dataset` makes them, to be given to train.py beside others. Only clips of --group in the split
`train` are learnt from.
"""
import argparse
import json
import os
from types import SimpleNamespace

import numpy as np

import lips as lip_model
from align import back, features, warp
from espeak import Sound, Speaker, speak
from sound import MEL_RATE, RATE, in_a_room, mel, stored, unstored
from texts import LANGUAGES, grid_sentence, mandarin, sentence, syllable

FPS = 25.0
MANDARIN = 'cmn-latn-pinyin'
ENGLISH = 'gmw/en'
SHARES = {MANDARIN: 0.34, ENGLISH: 0.16}   # of the time; the other languages share what is left
VAL_LANGUAGES = ['pl', 'id']               # spoken in `val` only
# espeak-ng's variants: larger and smaller heads, breath, other pitches; klatt is another synthesis.
TRAIN_VOICES = ['', 'm1', 'm2', 'm4', 'm5', 'm7', 'm8', 'f1', 'f3', 'f5', 'Alex', 'Alicia', 'Denis', 'Diogo', 'Gene', 'Henrique', 'Hugo', 'Jacky',
                'Lee', 'Marco', 'Michael', 'Storm', 'adam', 'anika', 'antonio', 'aunty', 'belinda', 'boris', 'caleb', 'david', 'ed', 'edward', 'grandma',
                'iven', 'john', 'klatt', 'klatt2', 'klatt4', 'marcelo', 'max', 'michel', 'norbert', 'pablo', 'paul', 'pedro', 'quincy', 'rob', 'robert',
                'sandro', 'shelby', 'steph', 'travis', 'victor', 'whisper', 'whisperf', 'zac']
VAL_VOICES = ['m6', 'f4', 'klatt3', 'Annie', 'grandpa', 'linda']
TEST_VOICES = ['m3', 'f2', 'Mario', 'Andy', 'steph2', 'benjamin']
ALIGN_VOICES = [f'{ENGLISH}+{v}' for v in ('m1', 'm2', 'm3', 'm4', 'm7', 'f1', 'f2', 'f4')]
ALIGN_BEST = 4
ALIGN_SPEED = 150


class Folder:
    """Training data in memory: clips one after another, written at the end."""

    def __init__(self, group, source):
        self.group, self.source = group, source
        self.clips, self.mels, self.motions = [], [], []
        self.frames = self.rows = 0

    def add(self, name, samples, motion, split, cluster=-1, **more):
        """motion: (n, 41, 2), one a frame of FPS from the first sample on."""
        columns = stored(mel(samples))
        self.clips.append({'name': name, 'frame': self.frames, 'n': len(motion), 'fps': FPS, 'mel': self.rows, 'mel_n': len(columns),
                           'mel_lead': 0.0, 'split': split, 'group': self.group, 'cluster': cluster, **more})
        self.mels.append(columns)
        self.motions.append(motion.astype(np.float32))
        self.frames += len(motion)
        self.rows += len(columns)

    def minutes(self, split=None):
        return sum(c['n'] for c in self.clips if split in (None, c['split'])) / FPS / 60

    def write(self, path, motion_points):
        os.makedirs(path, exist_ok=True)
        for name, arrays in (('mel', self.mels), ('motion', self.motions)):
            with open(os.path.join(path, f'{name}.npy.part'), 'wb') as f:
                np.save(f, np.concatenate(arrays))
            os.replace(f.name, f.name.removesuffix('.part'))
        with open(os.path.join(path, 'index.json.part'), 'w', encoding='utf-8') as f:
            json.dump({'version': 2, 'source': self.source, 'motion_points': motion_points, 'clips': self.clips}, f, ensure_ascii=False, indent=0)
        os.replace(f.name, f.name.removesuffix('.part'))


def talker(name):
    """Who speaks in a clip of GRID: s1, s2, … in its path, else the clip stands alone."""
    for part in name.replace('/', '__').split('__'):
        if part[:1] == 's' and part[1:].isdigit():
            return part
    return name


def read_clips(folder, group):
    """([clips whose words are known, of the group], FaceMesh's numbers of the points), with what koubo dataset wrote of each."""
    with open(os.path.join(folder, 'index.json'), encoding='utf-8') as f:
        index = json.load(f)
    if index.get('version') != 2:
        raise SystemExit(f"{folder}/index.json is of version {index.get('version')}; `koubo dataset` of this version writes 2")
    mels, motions = (np.load(os.path.join(folder, f'{k}.npy'), mmap_mode='r') for k in ('mel', 'motion'))
    clips = []
    for c in index['clips']:
        words = grid_sentence(c['name']) if c['group'] == group else None
        if words:
            clips.append(SimpleNamespace(name=c['name'], words=words, split=c['split'], who=talker(c['name']),
                                         mel=unstored(mels[c['mel']:c['mel'] + c['mel_n']]), lead=c['mel_lead'] / MEL_RATE,
                                         times=np.arange(c['n']) / c.get('fps', FPS),
                                         motion=np.array(motions[c['frame']:c['frame'] + c['n']], np.float64)))
    if not any(c.split == 'train' for c in clips):
        raise SystemExit(f"{folder} has no clip of the group '{group}' to train on whose name tells a sentence of GRID (as brbk7n.mpg)")
    return clips, index['motion_points']


def align(speaker, clip, voices=None):
    """Sets clip.sounds: when each sound of its words is spoken, in seconds of its frames. Each voice tells; the middle of
    those that fit best is taken."""
    said = [speak(speaker, clip.words, voice, ALIGN_SPEED) for voice in voices or ALIGN_VOICES]
    columns, tellings = [mel(samples) for samples, _ in said], []
    for (path, cost), of, (_, sounds) in zip(warp(features(clip.mel), [features(c) for c in columns]), columns, said):
        place = back(path, len(of))
        begins = np.interp([s.begin * MEL_RATE for s in sounds], np.arange(len(place)), place) / MEL_RATE
        tellings.append((cost, begins, sounds))
    tellings.sort(key=lambda t: t[0])
    sounds = tellings[0][2]
    same = [begins for _, begins, other in tellings if len(other) == len(sounds)][:ALIGN_BEST]
    begins = np.maximum.accumulate(np.median(same, 0))
    begins[0] = 0.0
    ends = np.append(begins[1:], max(len(clip.mel) / MEL_RATE, begins[-1]))
    clip.sounds = [s._replace(begin=b - clip.lead, end=e - clip.lead) for s, b, e in zip(sounds, begins, ends)]
    clip.cost, clip.spread = tellings[0][0], float(np.abs(np.array(same) - np.median(same, 0)).mean())


def join(pieces):
    """One (samples, [Sound]) out of several."""
    sounds, at = [], 0.0
    for samples, heard in pieces:
        sounds += [s._replace(begin=s.begin + at, end=s.end + at) for s in heard]
        at += len(samples) / RATE
    return np.concatenate([samples for samples, _ in pieces]), sounds


def utter(speaker, random, voice, text, n):
    """n texts in one manner of speaking."""
    manner = [random.uniform(low, high) for low, high in ((110, 250), (15, 85), (25, 75))]
    return join([speak(speaker, text(), voice, *manner, around=random.uniform(0.1, 0.35)) for _ in range(n)])


def frame_times(samples):
    return np.arange(int(len(samples) / RATE * FPS)) / FPS


def phones(sounds):
    """For index.json: [class, seconds, seconds, espeak-ng's name]."""
    return [[s.kind, round(s.begin, 3), round(s.end, 3), s.name] for s in sounds]


def text_of(random, language):
    return (lambda: mandarin(random)) if language == MANDARIN else (lambda: sentence(random, language))


def say_all(speaker, random, model, folder, minutes, languages, voices, split, first_cluster):
    """Fill the folder: so many minutes, languages by their shares, voices by chance."""
    rest = (1 - sum(SHARES.get(k, 0) for k in languages)) / max(1, sum(k not in SHARES for k in languages))
    spoken = dict.fromkeys(languages, 0.0)
    while True:
        language = min(languages, key=lambda k: spoken[k] / SHARES.get(k, rest))
        if sum(spoken.values()) >= minutes * 60:
            return
        k = int(random.integers(len(voices)))
        voice = f'{language}+{voices[k]}' if voices[k] else language
        samples, sounds = utter(speaker, random, voice, text_of(random, language), int(random.integers(1, 4)))
        times = frame_times(samples)
        if len(times) < FPS or not samples.any():
            raise SystemExit(f"espeak-ng says nothing as '{voice}'")
        folder.add(f'{voice} {len(folder.clips)}', in_a_room(samples, random), model.tell(sounds, times), split, first_cluster + k)
        spoken[language] += len(times) / FPS


def say_test(speaker, random, model, folder, n):
    """n Mandarin syllables in carrier sentences ("wo shuo … zhe ge zi"), with the times of all sounds."""
    wanted = [lambda s: s[0] in 'bpm', lambda s: s[0] in 'bp', lambda s: s.endswith(('u', 'v')) and s[-2:] not in ('ou', 'iu'), lambda s: s.endswith('i') and s[0] in 'bpmdtnljqx',
              lambda s: s.endswith('a') and s[-2:] not in ('ua', 'ia'), lambda s: True]
    for i in range(n):
        k = i % len(TEST_VOICES)
        word = syllable(random, wanted[i // len(TEST_VOICES) % len(wanted)])
        manner = [random.uniform(low, high) for low, high in ((140, 210), (35, 65), (40, 60))]
        samples, sounds = speak(speaker, f'wo3 shuo1 {word} zhe4 ge4 zi4.', f'{MANDARIN}+{TEST_VOICES[k]}', *manner)
        folder.add(f'{word} {TEST_VOICES[k]} {i}', in_a_room(samples, random), model.tell(sounds, frame_times(samples)), 'val', k,
                   text=word, phones=phones(sounds))


def warp_all(speaker, random, folder, clips, voices_a_clip):
    """The clips' own motion on other voices that say the same."""
    usable = [i for i, v in enumerate(TRAIN_VOICES) if 'whisper' not in v]
    for clip in clips:
        which = random.permutation(usable)[:voices_a_clip]
        voices = [f'{ENGLISH}+{TRAIN_VOICES[k]}' if TRAIN_VOICES[k] else ENGLISH for k in which]
        said = [speak(speaker, clip.words, v, random.uniform(110, 200), random.uniform(15, 85), random.uniform(25, 75))[0] for v in voices]
        columns = [mel(samples) for samples in said]
        paths = warp(features(clip.mel), [features(c) for c in columns])
        for k, voice, samples, of, (path, _) in zip(which, voices, said, columns, paths):
            place = smooth(back(path, len(of)))
            seconds = np.interp(frame_times(samples) * MEL_RATE, np.arange(len(of)), place) / MEL_RATE - clip.lead
            folder.add(f'{clip.name} {voice}', in_a_room(samples, random), at_times(clip, seconds), 'train', int(k))


def smooth(place, half=4):
    """A path without the stairs of whole columns: the mean over 100 ms."""
    return np.convolve(np.pad(place, half, mode='edge'), np.ones(2 * half + 1) / (2 * half + 1), 'valid')


def at_times(clip, seconds):
    flat = clip.motion.reshape(len(clip.motion), -1)
    return np.stack([np.interp(seconds, clip.times, column) for column in flat.T], 1).reshape(len(seconds), -1, 2)


def learn(clips):
    """(Lips of the clips to train on, figures on the others, which it has not seen)."""
    train, val = ([c for c in clips if c.split == split] for split in ('train', 'val'))
    model = lip_model.fit(train)
    figures = {'train': lip_model.measure(model, train)}
    if val:
        figures['val'] = lip_model.measure(model, val)
    for who in sorted({c.who for c in train}):
        others = [c for c in train if c.who != who]
        if others:
            figures[f'{who} by the others'] = lip_model.measure(lip_model.fit(others), [c for c in train if c.who == who])
    return model, figures


def arguments(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True, help='folder that koubo dataset made, with clips of GRID')
    p.add_argument('--group', default='grid', help='learn from clips of this group only (grid)')
    p.add_argument('--out', required=True, help='folder for what espeak-ng says')
    p.add_argument('--minutes', type=float, default=60, help='how much it says (60)')
    p.add_argument('--warped', help="folder for the clips' own motion on espeak-ng's voices")
    p.add_argument('--warped-voices', type=int, default=8, help='voices for each clip (8)')
    p.add_argument('--test', help='folder for syllables that visemes.py looks at')
    p.add_argument('--test-syllables', type=int, default=360)
    p.add_argument('--seed', type=int, default=1)
    return p.parse_args(argv)


def main():
    args = arguments()
    clips, points = read_clips(args.data, args.group)
    speaker = Speaker()
    for clip in clips:
        align(speaker, clip)
    print(f'{len(clips)} clips aligned; voices agree on the times to {1000 * np.mean([c.spread for c in clips]):.0f} ms')
    model, figures = learn(clips)
    for name, row in figures.items():
        print(name + '  ' + '  '.join(f'{k} {v:.3f}' for k, v in row.items()), flush=True)
    source = f'espeak-ng; lips learnt from {len([c for c in clips if c.split == "train"])} clips of the group {args.group}'
    spoken = Folder('spoken', source)
    random = np.random.default_rng(args.seed)
    languages = [MANDARIN] + [k for k in LANGUAGES if k not in VAL_LANGUAGES]
    say_all(speaker, random, model, spoken, args.minutes * 0.95, languages, TRAIN_VOICES, 'train', 0)
    say_all(speaker, random, model, spoken, args.minutes * 0.05, [MANDARIN, ENGLISH] + VAL_LANGUAGES, VAL_VOICES, 'val', len(TRAIN_VOICES))
    folders = [(args.out, spoken)]
    if args.warped:
        folders.append((args.warped, Folder('warped', source)))
        warp_all(speaker, np.random.default_rng(args.seed + 1), folders[-1][1], [c for c in clips if c.split == 'train'], args.warped_voices)
    if args.test:
        folders.append((args.test, Folder('mandarin', source)))
        say_test(speaker, np.random.default_rng(args.seed + 2), model, folders[-1][1], args.test_syllables)
    for path, folder in folders:
        folder.write(path, points)
        print(f'{path}: {len(folder.clips)} clips, {folder.minutes():.1f} minutes, {folder.minutes("val"):.1f} of them in val')


if __name__ == '__main__':
    main()
