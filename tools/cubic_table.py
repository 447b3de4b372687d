#!/usr/bin/env python3
"""Prints the table of src/rig/sample.c: Keys' cubic convolution (1981) in 64 phases, weights of 1/64."""
A = -0.75


def keys(x):
    x = abs(x)
    if x < 1:
        return (A + 2) * x**3 - (A + 3) * x**2 + 1
    return A * x**3 - 5 * A * x**2 + 8 * A * x - 4 * A if x < 2 else 0


for phase in range(64):
    exact = [64 * keys(phase / 64 - k) for k in (-1, 0, 1, 2)]
    whole = [round(w) for w in exact]
    while sum(whole) != 64:  # what rounding has lost goes where it is missed most
        step = 1 if sum(whole) < 64 else -1
        worst = max(range(4), key=lambda k: step * (exact[k] - whole[k]))
        whole[worst] += step
    print('    {%d, %d, %d, %d},' % tuple(whole))
