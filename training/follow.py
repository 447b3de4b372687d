#!/usr/bin/python3
"""From tracked films to koubo-follow.safetensors: how chin, jaw and cheeks follow the lips.

    koubo preprocess -o tracks films/
    python3 training/follow.py --tracks tracks --out koubo-follow.safetensors

A linear map by ridge regression, from the displacements of the 40 points of the lips (x, y) to those of the points around
them (x, y, z) and to the depth of the lips themselves. Every face of a track is one person: its frames are laid onto one
canonical mesh by the points that speech does not move, as src/rig/person.c does, and only what is left moves. Each frame
counts together with its mirror image. What the map explains is told of people it was not fitted on, in five parts.
"""
import argparse
import glob
import json
import os

import numpy as np

from network import write_safetensors

N_POINTS, LIPS, MIDDLE, LOWER = 218, slice(36, 76), slice(96, 116), slice(116, 165)  # of a track of version 4
IDS = [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
       148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
       61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146,
       78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95,
       33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 2, 159, 145, 386, 374, 70, 105, 300, 334,
       76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306, 307, 320, 404, 315, 16, 85, 180, 90, 77,
       57, 43, 106, 182, 83, 18, 313, 406, 335, 273, 287, 202, 204, 194, 201, 200, 421, 418, 424, 422,
       208, 199, 428, 175, 171, 396, 165, 92, 186, 391, 322, 410, 164, 167, 393, 216, 207, 187, 436,
       427, 411, 210, 211, 32, 140, 430, 431, 262, 369,
       98, 327, 48, 278, 129, 358, 205, 425, 50, 280, 101, 330, 36, 266, 123, 352, 147, 376, 116, 345,
       117, 346, 118, 347, 119, 348, 151, 9, 8,
       246, 161, 160, 158, 157, 173, 155, 154, 153, 144, 163, 7, 466, 388, 387, 385, 384, 398, 382,
       381, 380, 373, 390, 249]
# What a mirror image makes of each other; the rest lies in the middle.
PAIRS = [(338, 109), (297, 67), (332, 103), (284, 54), (251, 21), (389, 162), (356, 127), (454, 234), (323, 93), (361, 132),
         (288, 58), (397, 172), (365, 136), (379, 150), (378, 149), (400, 176), (377, 148), (61, 291), (185, 409), (40,
         270), (39, 269), (37, 267), (375, 146), (321, 91), (405, 181), (314, 84), (78, 308), (191, 415), (80, 310), (81,
         311), (82, 312), (324, 95), (318, 88), (402, 178), (317, 87), (33, 263), (133, 362), (159, 386), (145, 374), (70,
         300), (105, 334), (76, 306), (184, 408), (74, 304), (73, 303), (72, 302), (307, 77), (320, 90), (404, 180), (315,
         85), (57, 287), (43, 273), (106, 335), (182, 406), (83, 313), (202, 422), (204, 424), (194, 418), (201, 421), (208,
         428), (171, 396), (165, 391), (92, 322), (186, 410), (167, 393), (216, 436), (207, 427), (187, 411), (210, 430),
         (211, 431), (32, 262), (140, 369), (98, 327), (48, 278), (129, 358), (205, 425), (50, 280), (101, 330), (36, 266),
         (123, 352), (147, 376), (116, 345), (117, 346), (118, 347), (119, 348), (246, 466), (161, 388), (160, 387), (158,
         385), (157, 384), (173, 398), (155, 382), (154, 381), (153, 380), (144, 373), (163, 390), (7, 249)]
PLACE = {point: i for i, point in enumerate(IDS)}
JAW = [152, 148, 176, 149, 150, 136, 172, 58, 377, 400, 378, 379, 365, 397, 288]  # of the oval
# Forehead, brows, eyes, ridge of the nose, temples; the first ten make the units: their places in a crop of side 1.
RIGID = [PLACE[i] for i in (33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 10, 151, 9, 8, 67, 109, 338, 297, 70, 105,
                            300, 334, 127, 356, 54, 284, 103, 332)]
UNITS = np.array([[0.28, 0.32], [0.41383, 0.32542], [0.58593, 0.32513], [0.72, 0.32], [0.49898, 0.29479], [0.49901, 0.33431],
                  [0.49948, 0.37137], [0.49989, 0.40426], [0.50013, 0.44049], [0.50057, 0.48353]])
GROUPS = {'middle lips': IDS[MIDDLE], 'lower face': IDS[LOWER], 'jaw': JAW}
MOVED = [point for group in GROUPS.values() for point in group]
SURE, SIGMA, MOST = 0.8, 0.8, 600  # least score; smoothing in frames; frames of a face


def read_track(path):
    """One (frames, N_POINTS, 3) array in pixels of each face of a .kbt file of version 4, docs/track-file.md."""
    with open(path, 'rb') as f:
        data = f.read()
    version, header = np.frombuffer(data, '<u4', 2, 8)
    if data[:8] != b'KBTRACK\0' or version != 4:
        raise SystemExit(f'{path} is no track of version 4; make it with: koubo preprocess -o FOLDER VIDEO')
    _, _, n_frames, n_faces, n_cuts = np.frombuffer(data, '<i4', 5, 16)
    at, faces = aligned(header) + 8 * (int(n_frames) + int(n_cuts)), []
    record = np.dtype([('box', '<f4', 4), ('points', '<u2', (N_POINTS, 2)), ('angles', '<i2', 3), ('score', '<u2'),
                       ('depth', '<i2', N_POINTS), ('cover', '<u2', 2)])
    for _ in range(n_faces):
        n_records, n_mouths = (int(v) for v in np.frombuffer(data, '<i4', 2, at))
        at = at + 24 + 4 * int(n_frames)
        at = aligned(at)
        records = np.frombuffer(data, record, n_records, at)
        faces.append(points_of(records[records['score'] >= SURE * 65535]))
        at = aligned(at + record.itemsize * n_records)
        for _ in range(n_mouths):
            width, height = np.frombuffer(data, '<i4', 2, at + 4)
            at = aligned(aligned(at + 24) + int(width) * int(height) * 3 // 2)
    return faces


def aligned(at):
    return -(-int(at) // 8) * 8


def points_of(records):
    low, size = records['box'][:, None, :2], records['box'][:, 2:] - records['box'][:, :2]
    flat = low + records['points'] / 65535 * size[:, None]
    depth = records['depth'] / 16384 * size.max(1, keepdims=True)
    return np.concatenate([flat, depth[..., None]], 2).astype(np.float64)


def smooth(series):
    """Over time, a Gaussian; the ends are repeated."""
    weights = np.exp(-0.5 * (np.arange(-4, 5) / SIGMA) ** 2)
    padded = np.pad(series, ((4, 4), (0, 0), (0, 0)), 'edge')
    return sum(w / weights.sum() * padded[i:i + len(series)] for i, w in enumerate(weights))


def similarity(a, b):
    """(scale, rotation, shift) with b = scale * rotation * a + shift: Umeyama 1991."""
    mean_a, mean_b = a.mean(0), b.mean(0)
    u, s, v = np.linalg.svd((b - mean_b).T @ (a - mean_a))
    flip = np.ones(a.shape[1])
    flip[-1] = np.sign(np.linalg.det(u @ v))
    rotation = u * flip @ v
    scale = (s * flip).sum() / ((a - mean_a) ** 2).sum()
    return scale, rotation, mean_b - scale * rotation @ mean_a


def unposed(mesh, frames):
    poses = [similarity(mesh[RIGID], frame[RIGID]) for frame in frames]
    return np.stack([(frame - shift) @ rotation / scale for frame, (scale, rotation, shift) in zip(frames, poses)])


def canonical(frames):
    """The frames of one person without their poses: looking straight ahead, in canonical units."""
    mesh = frames[len(frames) // 2]
    for _ in range(4):
        mesh = unposed(mesh, frames).mean(0)
    x = mesh[PLACE[263]] - mesh[PLACE[33]]
    x /= np.linalg.norm(x)
    y = mesh[PLACE[152]] - mesh[PLACE[10]]
    y -= (y @ x) * x
    y /= np.linalg.norm(y)
    mesh = mesh @ np.stack([x, y, np.cross(x, y)]).T
    scale, rotation, shift = similarity(mesh[RIGID[:10], :2], UNITS)
    mesh = np.concatenate([scale * mesh[:, :2] @ rotation.T + shift, scale * mesh[:, 2:]], 1)
    return unposed(mesh, frames)


def partners():
    """The place of each point in a mirrored face."""
    other = np.arange(N_POINTS)
    for a, b in PAIRS:
        other[[PLACE[a], PLACE[b]]] = PLACE[b], PLACE[a]
    return other


def displacements(frames):
    """(frames, 80) of the lips, and what goes with them: the moved points' x, y, z and the lips' z; less their means."""
    away = frames - frames.mean(0)
    return away[:, LIPS, :2].reshape(len(away), -1), np.concatenate(
        [away[:, [PLACE[i] for i in MOVED]].reshape(len(away), -1), away[:, LIPS, 2]], 1)


def with_mirror(frames, other):
    mirrored = frames[:, other] * [-1, 1, 1] + [1, 0, 0]
    return [np.concatenate(pair) for pair in zip(displacements(frames), displacements(mirrored))]


def solve(sums, ridge):
    inputs, both, n = (sum(s[i] for s in sums) for i in range(3))
    return np.linalg.solve(inputs + ridge * n * np.eye(len(inputs)), both)


def explained(pairs, sums, ridge, parts):
    """{group: part of the variance in x, y, z} of people of whom no frame was fitted."""
    left, whole = 0, 0
    for part in range(parts):
        rest = [s for i, s in enumerate(sums) if i % parts != part]
        weights = solve(rest, ridge)
        for lips, goes in pairs[part::parts]:
            left = left + ((goes - lips @ weights) ** 2).sum(0)
            whole = whole + (goes ** 2).sum(0)
    n, figures, at = 3 * len(MOVED), {}, 0
    for name, ids in GROUPS.items():
        rows = slice(at, at + len(ids))
        figures[name] = 1 - left[:n].reshape(-1, 3)[rows].sum(0) / whole[:n].reshape(-1, 3)[rows].sum(0)
        at += len(ids)
    figures['depth of the lips'] = np.array([1 - left[n:].sum() / whole[n:].sum()])
    return figures


def open_mouth(pairs):
    """(80,): how lips move when the inner ones open by 1."""
    lips = np.concatenate([p[0] for p in pairs])
    points = lips.reshape(len(lips), 40, 2)
    gaps = [points[:, 40 - k, 1] - points[:, 20 + k, 1] for k in range(1, 10)]
    opening = np.mean(gaps, 0)
    return lips.T @ opening / (opening @ opening)


def fit(people, ridge, parts=5):
    """(weights (80, ...), figures) of people: a list of canonical frames of each."""
    other = partners()
    pairs = [with_mirror(p, other) for p in people]
    sums = [(lips.T @ lips, lips.T @ goes, len(lips)) for lips, goes in pairs]
    figures = {'people': len(people), 'frames': sum(len(p) for p in people)}
    if len(people) >= 2 * parts:
        figures['explained'] = {k: v.round(3).tolist() for k, v in explained(pairs, sums, ridge, parts).items()}
    weights = solve(sums, ridge)
    opened = 0.08 * open_mouth(pairs)
    chin = (opened @ weights)[3 * MOVED.index(152):][:3]
    figures['open by 0.08'] = {'lower lip': round(float(opened[2 * 15 + 1]), 4), 'chin': chin.round(4).tolist()}
    return weights, figures


def export(path, weights, figures, training_data):
    n = 3 * len(MOVED)
    write_safetensors(path, {'moved': np.float16(weights[:, :n].T.reshape(len(MOVED), 3, 80)), 'lips_depth': np.float16(weights[:, n:].T)}, {
        'format': 'koubo-follow', 'version': '1', 'name': 'koubo-follow', 'lips': json.dumps(IDS[LIPS]), 'points': json.dumps(MOVED),
        'training_data': training_data, 'figures': json.dumps(figures)})


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--tracks', required=True, help='folder of face tracks, from koubo preprocess -o')
    p.add_argument('--out', required=True, help='where to write koubo-follow.safetensors')
    p.add_argument('--training-data', default='own videos', help='what to write into the file about it, terms included')
    p.add_argument('--ridge', type=float, default=3e-6)
    args = p.parse_args()
    people = []
    for path in sorted(glob.glob(os.path.join(args.tracks, '*.kbt'))):
        for frames in read_track(path):
            frames = frames[::-(-len(frames) // MOST) or 1]
            if len(frames) >= 20:
                people.append(canonical(smooth(frames)))
    if not people:
        raise SystemExit(f'{args.tracks} has no track of 20 frames with a face; make some with: koubo preprocess -o {args.tracks} VIDEO')
    weights, figures = fit(people, args.ridge)
    export(args.out, weights, figures, args.training_data)
    print(json.dumps(figures, indent=1))


if __name__ == '__main__':
    main()
