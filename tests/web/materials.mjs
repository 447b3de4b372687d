// Files for page tests and pictures: people of the demo's photographs, one in each clip.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { root } from '../e2e/server.mjs';

function run(program, words) {
    const done = spawnSync(program, words, { encoding: 'utf8' });
    if (done.status !== 0) throw new Error(`${program}: ${done.error ?? done.stderr}`);
}

// photo, middle of the face, width of the cut; all of photographs 1920 pixels wide
const people = [[6, 806, 450, 500], [3, 1230, 330, 460], [6, 346, 660, 480], [1, 1594, 330, 520], [6, 1651, 360, 440], [5, 1500, 550, 430]];
export const PEOPLE = people.length;

export function make_clip(folder, name, who, seconds) {
    const [photo, x, y, width] = people[who];
    const height = width * 0.75;
    const jpg = path.join(root, `node_modules/@vladmandic/face-api/demo/sample${photo}.jpg`);
    const to = path.join(folder, name);
    const moving = `crop=${width}:${height}:${x - width / 2}+6*sin(t):${y - height * 0.45},scale=960:720`;
    run('ffmpeg', ['-v', 'error', '-y', '-loop', '1', '-framerate', '25', '-t', String(seconds), '-i', jpg, '-vf', moving,
        '-pix_fmt', 'yuv420p', '-preset', 'veryfast', '-movflags', '+faststart', to]);
    return to;
}

// Two of them side by side.
export function make_pair(folder, name, left, right, seconds) {
    const to = path.join(folder, name);
    const halves = [left, right].map((who, i) => make_clip(folder, `half-${i}-${name}`, who, seconds));
    run('ffmpeg', ['-v', 'error', '-y', '-i', halves[0], '-i', halves[1], '-filter_complex', 'hstack', '-pix_fmt', 'yuv420p', '-preset', 'veryfast', to]);
    return to;
}

export function make_scenery(folder, name, seconds) {
    const to = path.join(folder, name);
    run('ffmpeg', ['-v', 'error', '-y', '-f', 'lavfi', '-i', `gradients=s=1280x720:d=${seconds}:speed=0.02`, '-pix_fmt', 'yuv420p', to]);
    return to;
}

export function make_speech(folder, name, text) {
    const to = path.join(folder, name);
    run('espeak-ng', ['-v', 'cmn', '-s', '160', '-w', to, text]);
    return to;
}

export function make_broken(folder, name) {
    const to = path.join(folder, name);
    writeFileSync(to, 'not a video '.repeat(300));
    return to;
}
