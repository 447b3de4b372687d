"""espeak-ng's voices (libespeak-ng.so.1; Debian: espeak-ng): a text to samples and to the times of its sounds.

The library has one global state, so there is one Speaker in a process. Its phoneme events were compared with what it plays
("aba apa ama"): a vowel, a voiced consonant and a nasal begin where the event is; of p, t and k the event is where they burst, and the
silence before it, in which the lips of a p are closed, is told by nothing. `spans` looks for it in the samples.
"""
import ctypes
from collections import namedtuple

import numpy as np

from phonemes import VOWELS, classes, is_stop, is_voiceless_stop
from sound import RATE, resample

Sound = namedtuple('Sound', 'kind begin end name')  # one class of sound, seconds
SYNCHRONOUS, PHONEME_EVENTS, IPA, STAY = 2, 1, 2, 0x8000
UTF8, PHONEMES = 1, 0x100
SPEED, PITCH, RANGE = 1, 3, 4
PHONEME, END = 7, 0
QUIET = 0.06            # of the loudest 5 ms: silence in a stop
LONGEST_STOP = 0.11     # seconds of silence before a burst that belong to it
SHORTEST_STOP = 0.06
PAUSE = 0.08            # a mark of espeak's that lasts so long is a pause


class Id(ctypes.Union):
    _fields_ = [('number', ctypes.c_int), ('name', ctypes.c_char_p), ('string', ctypes.c_char * 8)]


class Event(ctypes.Structure):
    _fields_ = [('type', ctypes.c_int), ('unique', ctypes.c_uint), ('text_position', ctypes.c_int), ('length', ctypes.c_int),
                ('audio_position', ctypes.c_int), ('sample', ctypes.c_int), ('user_data', ctypes.c_void_p), ('id', Id)]


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


class Speaker:
    def __init__(self):
        try:
            self.library = ctypes.CDLL('libespeak-ng.so.1')
        except OSError as error:
            raise SystemExit(f'{error}; install espeak-ng (Debian: apt-get install espeak-ng)') from error
        self.rate = self.library.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEME_EVENTS | IPA | STAY)
        if self.rate <= 0:
            raise SystemExit("espeak-ng's voices are missing; install the package espeak-ng-data")
        self.pieces, self.events = [], []
        self.callback = CALLBACK(self.take)  # kept: the library holds only its address
        self.library.espeak_SetSynthCallback(self.callback)

    def take(self, samples, n, events):
        if samples and n > 0:
            self.pieces.append(np.ctypeslib.as_array(samples, (n,)).copy())
        i = 0
        while events[i].type != END:
            if events[i].type == PHONEME:
                name = ctypes.string_at(ctypes.addressof(events[i].id), 8).split(b'\0')[0]
                self.events.append((events[i].audio_position / 1000, name.decode('utf-8', 'ignore')))
            i += 1
        return 0

    def speak(self, text, voice, speed=175, pitch=50, pitch_range=50):
        """(samples at 16 kHz, [(seconds, name)]): voice as espeak-ng has it ("cmn-latn-pinyin+f3"), speed in words a minute, pitch
        0..100. Sounds in [[ ]] are taken as they are."""
        if self.library.espeak_SetVoiceByName(voice.encode()):
            raise SystemExit(f"espeak-ng has no voice '{voice}'; `espeak-ng --voices` lists them")
        for parameter, value in ((SPEED, speed), (PITCH, pitch), (RANGE, pitch_range)):
            self.library.espeak_SetParameter(parameter, int(value), 0)
        self.pieces.clear()
        self.events.clear()
        raw = text.encode() + b'\0'
        self.library.espeak_Synth(raw, ctypes.c_size_t(len(raw)), 0, 1, 0, UTF8 | PHONEMES, None, None)
        if not self.pieces:
            return np.zeros(0), []
        return resample(np.concatenate(self.pieces) / 32768, self.rate), list(self.events)


def spans(samples, events):
    """[Sound] without gaps from 0 to the end of the samples; diphthongs in two, sounds of the throat given to what follows."""
    end = len(samples) / RATE
    found = []
    ends = [t for t, _ in events[1:]] + [end]
    for (begin, name), stop in zip(events, ends):
        begin, stop = min(begin, end), min(stop, end)
        kinds = classes(name)
        if not kinds:
            if stop - begin < PAUSE and found:  # a mark of tone or stress: part of the sound before
                found[-1] = found[-1]._replace(end=stop)
                continue
            kinds = ['silence']
        for k, kind in enumerate(kinds):
            parts = [begin + (stop - begin) * i / len(kinds) for i in (k, k + 1)]
            found.append(Sound(kind, *parts, name))
    return with_throat(with_closures(found, samples))


def with_closures(sounds, samples):
    """Let stops begin where the mouth closes for them: in the silence before a burst, and so early that they last SHORTEST_STOP."""
    step = RATE // 200
    loud = np.sqrt((samples[:len(samples) // step * step].reshape(-1, step) ** 2).mean(1))
    quiet = loud < QUIET * loud.max() if len(loud) else loud
    for i in range(1, len(sounds)):
        sound, last = sounds[i], sounds[i - 1]
        if not is_stop(sound.name) or last.name == sound.name and last.end == sound.begin:
            continue
        begin = min(sound.begin, sound.end - SHORTEST_STOP)
        if is_voiceless_stop(sound.name):
            first = int(sound.begin * 200)
            while first > (sound.begin - LONGEST_STOP) * 200 and first > 0 and quiet[min(first, len(quiet)) - 1]:
                first -= 1
            begin = min(begin, first / 200, sound.begin - SHORTEST_STOP)
        part = 0.9 if last.kind == 'silence' else 0.5
        begin = min(sound.begin, max(begin, last.end - part * (last.end - last.begin)))
        sounds[i - 1], sounds[i] = last._replace(end=begin), sound._replace(begin=begin)
    return sounds


def with_throat(sounds):
    """Sounds of the throat get the lips of the vowel behind them, else of what is before them."""
    kept = []
    for i, sound in enumerate(sounds):
        if sound.kind == 'H':
            later = sounds[i + 1].kind if i + 1 < len(sounds) else 'silence'
            sound = sound._replace(kind=later if later in VOWELS else kept[-1].kind if kept else 'silence')
        if sound.end > sound.begin:
            kept.append(sound)
    return kept


def speak(speaker, text, voice, speed=175, pitch=50, pitch_range=50, around=0.3):
    """(samples, [Sound]) with so many seconds of silence at both ends."""
    samples, events = speaker.speak(text, voice, speed, pitch, pitch_range)
    samples = np.pad(samples, int(around * RATE))
    end = len(samples) / RATE
    events = [(0.0, '')] + [(t + around, name) for t, name in events] + [(end - around, '')]
    return samples, spans(samples, events)
