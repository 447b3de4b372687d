"""Sound as koubo hears it: the mel spectrogram of src/media/mel.h in NumPy, resampling, and rooms to put a clean voice into."""
import numpy as np

RATE = 16000    # samples a second
HOP, FFT, BANDS = 200, 800, 80
MEL_RATE = 80   # columns a second
LOWEST_HZ, HIGHEST_HZ = 55.0, 7600.0
LEVELS = 63     # of a stored mel: 0..63 are -4..4


def mel_filters():
    """(80, 401): Slaney's triangles, each of area 1 (Auditory Toolbox 1998, as src/media/mel.c has them)."""
    def to_mel(hz):
        return np.where(hz < 1000, hz * 3 / 200, 15 + np.log(np.maximum(hz, 1) / 1000) * 27 / np.log(6.4))

    def to_hz(mel):
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))

    edges = to_hz(np.linspace(to_mel(np.float64(LOWEST_HZ)), to_mel(np.float64(HIGHEST_HZ)), BANDS + 2))
    hz = np.arange(FFT // 2 + 1) * RATE / FFT
    left, top, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.maximum(np.minimum((hz - left) / (top - left), (right - hz) / (right - top)), 0) * 2 / (right - left)


FILTERS = mel_filters()
WINDOW = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)


def mel(samples):
    """(1 + n // 200, 80) of n samples (16 kHz, -1..1; at least 800): -4..4. Column i stands at sample 200 i."""
    samples = np.asarray(samples, np.float64)
    if len(samples) < FFT:
        raise ValueError(f'the sound has {len(samples)} samples; at least {FFT} are needed')
    samples = np.append(samples[:1], samples[1:] - 0.97 * samples[:-1])
    padded = np.pad(samples, FFT // 2, mode='reflect')
    pieces = np.lib.stride_tricks.sliding_window_view(padded, FFT)[::HOP]
    loud = np.abs(np.fft.rfft(pieces * WINDOW, axis=1)) @ FILTERS.T
    return np.clip(8 * (20 * np.log10(np.maximum(loud, 1e-5)) - 20 + 100) / 100 - 4, -4, 4)


def stored(columns):
    """As mel.npy keeps them: `koubo dataset` cuts off what is behind the point."""
    return ((columns.astype(np.float32) + 4) * LEVELS / 8).astype(np.uint8)


def unstored(levels):
    return levels.astype(np.float64) * 8 / LEVELS - 4


def resample(samples, rate):
    """To 16 kHz, by cutting the spectrum of the whole; for sentences, not for hours."""
    n, edge = len(samples), rate // 10
    whole = rate * -(-(n + 2 * edge) // rate)  # whole seconds, so that both lengths are whole numbers
    spectrum = np.fft.rfft(np.pad(samples, (edge, whole - n - edge)))
    n_out = whole * RATE // rate
    kept = np.zeros(n_out // 2 + 1, complex)
    m = min(len(kept), len(spectrum))
    kept[:m] = spectrum[:m]
    out = np.fft.irfft(kept, n_out) * (n_out / whole)
    begin = edge * RATE // rate
    return out[begin:begin + n * RATE // rate]


def in_a_room(samples, random):
    """A clean voice as a microphone might have it: a tilt of the spectrum, at times an echo, a noise floor, some loudness."""
    n = len(samples)
    whole = 1 << (n + RATE // 2).bit_length()
    spectrum, hz = np.fft.rfft(samples, whole), np.fft.rfftfreq(whole, 1 / RATE)
    octaves = np.log2(np.maximum(hz, 60) / 1000)
    spectrum = spectrum * 10 ** ((random.normal(0, 1.5) * octaves + random.normal(0, 1) * octaves ** 2 / 3) / 20)
    if random.random() < 0.4:
        length = int(RATE * random.uniform(0.1, 0.45))
        echo = random.normal(0, 1, length) * np.exp(-6.9 * np.arange(length) / length)
        echo *= random.uniform(0.1, 0.5) / np.sqrt((echo ** 2).sum())
        echo[0] = 1
        spectrum = spectrum * np.fft.rfft(echo, whole)
    voice = np.fft.irfft(spectrum, whole)[:n]
    voice *= 10 ** (random.uniform(-26, -13) / 20) / np.sqrt((voice ** 2).mean() + 1e-12)
    noise = np.fft.rfft(random.normal(0, 1, whole)) * (1 + hz / 400) ** -random.uniform(0, 1)
    noise = np.fft.irfft(noise, whole)[:n]
    noise *= 10 ** (random.uniform(-85, -48) / 20) / noise.std()
    return np.clip(voice + noise, -1, 1)
