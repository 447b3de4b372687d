"""Speech sounds by what the lips do for them: IPA, as espeak-ng names them, to some twenty classes (visemes)."""
import unicodedata

CLASSES = ['silence', 'P', 'F', 'TH', 'T', 'S', 'K', 'R', 'W', 'U', 'O', 'A', 'E', 'I', 'SCHWA']
# Classes of which GRID has nothing or a dozen: what part of which others they are.
MIXED = {'SH': {'S': 1.0}, 'J': {'I': 1.0}, 'MID': {'E': 0.5, 'SCHWA': 0.5}}
MEMBERS = {
    'P': 'pbmɓʙ',              # lips closed
    'F': 'fvɱʋ',               # lower lip to the upper teeth
    'TH': 'θð',
    'T': 'tdnlɾrʈɖɳɭɫɗɽɬɺʎ',   # tip of the tongue: the lips do as their neighbours
    'S': 'szʦʣ',
    'SH': 'ʃʒɕʑʂʐʧʤ',
    'K': 'kɡgŋxɣqɢχʁʀɴ',
    'R': 'ɹɻ',                 # rounded in English
    'W': 'wɸʍβɥ',
    'J': 'jɲcɟçʝ',
    'U': 'uʊyʏʉ',              # rounded, narrow
    'O': 'oɔøœɒɞ',             # rounded, open
    'A': 'aɑæɐʌɶ',
    'E': 'eɛɜ',
    'I': 'iɪɨɿʅɯ',             # spread
    'MID': 'ɤ',                # neither rounded nor spread
    'SCHWA': 'əɘɵɚɝ',
}
CLASS_OF = {letter: name for name, letters in MEMBERS.items() for letter in letters}
NEUTRAL = set('hɦħʔʕʜʢ')       # made in the throat: the lips are already where the next sound wants them
# English's long o begins rounded; its schwa does not.
DIPHTHONGS = {'əʊ': 'oʊ', 'uei': 'wei', 'uo': 'wo'}
AFFRICATES = {'ts': 'S', 'dz': 'S', 'tʃ': 'SH', 'dʒ': 'SH', 'tɕ': 'SH', 'dʑ': 'SH', 'tʂ': 'SH', 'dʐ': 'SH', 'pf': 'F'}
# espeak-ng writes some of Mandarin's in its own way.
ASCII = {'nɡ': 'ŋ', 'oe': 'ø', 'i̪': 'ɿ', 'o-': 'ɤ', 's.': 'ʂ', 'i.': 'ɿ', 'z.': 'ʐ', 'ɯᵝ': 'u',
         'n.': 'ɳ', 't.': 'ʈ', 'd.': 'ɖ', 'l.': 'ɭ', 'r.': 'ɽ'}
STOPS = set('pbtdkɡgqɢʈɖcɟ')
VOICELESS = set('ptkqʈc')
VOWELS = {'U', 'O', 'A', 'E', 'I', 'SCHWA', 'MID'}


def letters(name):
    """The sounds in one of espeak-ng's phoneme names, without length, tone, breath and other marks."""
    if name.startswith('('):  # "(en)": it changes the language
        return []
    if name == 'ʲ':  # a glide with the lips of the vowel behind it
        return ['h']
    for written, meant in (ASCII | DIPHTHONGS).items():
        name = name.replace(written, meant)
    plain = [c for c in unicodedata.normalize('NFD', name) if c in CLASS_OF or c in NEUTRAL]
    if len(plain) > 1 and plain[-1] == 'h':  # "ph" is a p with breath
        plain.pop()
    return plain


def classes(name):
    """The classes of one phoneme in turn (a diphthong has two); [] of pauses and marks, ['H'] of a sound of the throat."""
    found, plain = [], letters(name)
    i = 0
    while i < len(plain):
        pair = ''.join(plain[i:i + 2])
        if pair in AFFRICATES:
            found.append(AFFRICATES[pair])
            i += 2
            continue
        found.append('H' if plain[i] in NEUTRAL else CLASS_OF[plain[i]])
        i += 1
    return found


def shares(kind):
    """{one of CLASSES: part}"""
    return MIXED.get(kind, {kind: 1.0})


def is_stop(name):
    plain = letters(name)
    return bool(plain) and plain[0] in STOPS


def is_voiceless_stop(name):
    plain = letters(name)
    return bool(plain) and plain[0] in VOICELESS
