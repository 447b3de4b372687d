// Uploads by tus: they go on after a lost connection, and after a refresh when the same file is
// chosen again. An entry lives as long as the list it is in.
import { reactive } from 'vue';
import { Upload } from 'tus-js-client';
import { language } from './i18n.js';
import { loadAsset } from './live.js';

const PARALLEL = 3;
const waiting = [];
let running = 0;

function startNext() {
    while (running < PARALLEL && waiting.length) {
        const entry = waiting.shift();
        if (entry.removed) continue;
        running++;
        begin(entry);
    }
}

function ended() {
    running--;
    startNext();
}

function sentence(error) {
    const body = error.originalResponse?.getBody();
    try {
        return JSON.parse(body).detail ?? String(error.message);
    } catch {
        return String(error.message);
    }
}

async function begin(entry) {
    const upload = new Upload(entry.file, {
        endpoint: '/api/v1/uploads',
        retryDelays: [0, 1000, 2000, 5000, 5000, 10000, 10000, 30000, 30000, 60000],
        metadata: { filename: entry.name, filetype: entry.file.type, lang: language() },
        headers: { 'Accept-Language': language() },
        removeFingerprintOnSuccess: true,
        onProgress: (sent, total) => {
            entry.sent = sent;
            entry.progress = total ? sent / total : 0;
            entry.stalled = false;
        },
        onShouldRetry: (error) => {
            entry.stalled = true;
            const status = error.originalResponse?.getStatus() ?? 0;
            return status === 0 || status === 423 || status === 429 || status >= 500 && status !== 507;
        },
        onError: (error) => {
            entry.error = sentence(error);
            ended();
        },
        onSuccess: () => {
            entry.id = upload.url.split('/').pop();
            entry.progress = 1;
            entry.file = null; // the server has it
            entry.changed();
            loadAsset(entry.id).catch(() => {});
            ended();
        },
    });
    entry.stop = () => upload.abort(true).catch(() => {}).finally(ended);
    try {
        const [earlier] = await upload.findPreviousUploads();
        if (earlier) upload.resumeFromPreviousUpload(earlier);
    } catch {
        // a browser without storage starts from the beginning
    }
    if (entry.removed) ended();
    else upload.start();
}

let lastKey = 0;

// An entry for a file; changed() is called when its asset is known.
export function startUpload(file, changed) {
    const entry = reactive({
        key: ++lastKey,
        file,
        name: file.name,
        size: file.size,
        id: null,
        sent: 0,
        progress: 0,
        stalled: false,
        error: null,
        removed: false,
        stop: null,
        changed,
    });
    if (file.size === 0) {
        entry.error = 'empty';
        return entry;
    }
    waiting.push(entry);
    startNext();
    return entry;
}

// An entry for an asset that is on the server already.
export function knownAsset(asset, changed) {
    return reactive({
        key: ++lastKey, file: null, name: asset.name, size: asset.size, id: asset.id, sent: asset.size,
        progress: 1, stalled: false, error: null, removed: false, stop: null, changed,
    });
}

export function removeUpload(entry) {
    entry.removed = true;
    if (!entry.id && !entry.error) entry.stop?.();
}
