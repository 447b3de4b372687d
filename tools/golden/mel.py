#!/usr/bin/env python3
"""Writes tests/golden/mel_signal.bin (int16 samples, 16 kHz) and mel_columns.bin (float32, 80 values
a column): the mel spectrogram that Wav2Lip's audio.py computes with librosa, its formulas written
out in NumPy and double precision. Run in the source root."""

import numpy as np

RATE, FFT, HOP, BANDS = 16000, 800, 200, 80


def signal():
    """A chirp over noise of changing loudness, with a piece of digital silence and a clipped one."""
    n = 19337
    t = np.arange(n) / RATE
    state, noise = 12345, np.empty(n)
    for i in range(n):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        noise[i] = (state >> 15) / 32768 - 1
    x = 0.5 * np.sin(2 * np.pi * (60 * t + 3300 * t * t)) + 0.2 * noise * (0.55 + 0.45 * np.sin(9 * t))
    x[6000:8500] = 0
    x[12000:12400] *= 4
    return np.clip(np.round(x * 32767), -32768, 32767).astype("<i2")


def hz_to_mel(hz):
    hz = np.asarray(hz, dtype=float)
    linear = hz / (200 / 3)
    log = 15 + np.log(np.maximum(hz, 1e-9) / 1000) / (np.log(6.4) / 27)
    return np.where(hz >= 1000, log, linear)


def mel_to_hz(mel):
    return np.where(mel >= 15, 1000 * np.exp(np.log(6.4) / 27 * (mel - 15)), mel * 200 / 3)


def filters(low=55, high=7600):
    bins = np.arange(FFT // 2 + 1) * RATE / FFT
    edges = mel_to_hz(np.linspace(hz_to_mel(low), hz_to_mel(high), BANDS + 2))
    width = np.diff(edges)
    ramps = edges[:, None] - bins[None, :]
    weights = np.maximum(0, np.minimum(-ramps[:-2] / width[:-1, None], ramps[2:] / width[1:, None]))
    return weights * (2 / (edges[2:] - edges[:-2]))[:, None]


def mel(samples):
    y = samples.copy()
    y[1:] -= 0.97 * samples[:-1]
    y = np.pad(y, FFT // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)
    columns = 1 + (len(y) - FFT) // HOP
    frames = np.stack([y[i * HOP : i * HOP + FFT] * window for i in range(columns)])
    magnitude = np.abs(np.fft.rfft(frames, axis=1))
    db = 20 * np.log10(np.maximum(1e-5, magnitude @ filters().T)) - 20
    return np.clip(8 * (db + 100) / 100 - 4, -4, 4)


if __name__ == "__main__":
    samples = signal()
    samples.tofile("tests/golden/mel_signal.bin")
    columns = mel(samples.astype(float) / 32768)
    columns.astype("<f4").tofile("tests/golden/mel_columns.bin")
    print(columns.shape, columns.min(), columns.max(), columns.mean())
