// Uploads by tus: they go on after a lost connection, and after a refresh when the same file is
// chosen again. An entry lives as long as the list it is in.
import { reactive } from 'vue';
import { DetailedError, Upload } from 'tus-js-client';
import { language } from './i18n';
import { loadAsset } from './live';
import type { Asset } from './types';

const PARALLEL = 3;
const AGAIN_MS = 5000; // after tus gave up for now
const SILENT_MS = 10000; // a connection that neither moves nor breaks is given up
const SILENT_END_MS = 60000; // all is sent: the server is at work, or it only went into buffers

export interface Entry {
    key: number;
    name: string;
    size: number;
    id: string | null; // the asset, once the server has all of it
    file: File | null; // null before a refresh's file is chosen again, and afterwards
    progress: number;
    stalled: boolean; // the network is away; goes on by itself
    error: string | null; // a sentence, or "empty"
    removed: boolean;
    stop?: () => void;
    changed: () => void; // its asset became known
}

const waiting: Entry[] = [];
const inUse = new Set<string>(); // addresses of uploads under way
let running = 0;
let lastKey = 0;

function startNext() {
    while (running < PARALLEL && waiting.length) {
        const entry = waiting.shift()!;
        if (entry.removed) continue;
        running++;
        begin(entry, entry.file!);
    }
}

function ended() {
    running--;
    startNext();
}

function enqueue(entry: Entry) {
    waiting.push(entry);
    startNext();
}

const statusOf = (error: unknown) => (error instanceof DetailedError && error.originalResponse?.getStatus()) || 0;
// No room (507) stays so until somebody makes room; the others pass.
const passes = (status: number) => status === 0 || status === 409 || status === 423 || status === 429 || (status >= 500 && status !== 507);

function sentence(error: Error): string {
    const body = error instanceof DetailedError ? error.originalResponse?.getBody() : null;
    try {
        return JSON.parse(body ?? '').detail ?? error.message;
    } catch {
        return error.message;
    }
}

async function begin(entry: Entry, file: File) {
    let watch: number | undefined;
    let isOver = false;
    const over = () => {
        if (isOver) return;
        isOver = true;
        clearTimeout(watch);
        if (upload.url) inUse.delete(upload.url);
        entry.stop = undefined;
        ended();
    };
    const later = () => {
        if (isOver) return;
        entry.stalled = true;
        setTimeout(() => enqueue(entry), AGAIN_MS);
        over();
    };
    const watchSilence = () => {
        clearTimeout(watch);
        watch = window.setTimeout(() => upload.abort().then(later, later), entry.progress < 1 ? SILENT_MS : SILENT_END_MS);
    };
    const upload = new Upload(file, {
        endpoint: '/api/v1/uploads',
        retryDelays: [0, 1000, 3000],
        metadata: { filename: entry.name, filetype: file.type, lang: language() },
        headers: { 'Accept-Language': language() },
        removeFingerprintOnSuccess: true,
        onUploadUrlAvailable: () => { inUse.add(upload.url!); },
        onProgress: (sent, total) => {
            entry.progress = total ? sent / total : 0;
            entry.stalled = false;
            watchSilence();
        },
        onShouldRetry: (error) => {
            clearTimeout(watch);
            entry.stalled = true;
            return passes(statusOf(error));
        },
        onError: (error) => {
            if (passes(statusOf(error))) {
                later();
                return;
            }
            entry.stalled = false;
            entry.error = sentence(error);
            over();
        },
        onSuccess: () => {
            entry.id = upload.url!.split('/').pop()!;
            entry.progress = 1;
            entry.stalled = false;
            entry.file = null; // the server has it
            entry.changed();
            loadAsset(entry.id).catch(() => {}); // else the stream brings it
            over();
        },
    });
    entry.stop = () => upload.abort(true).catch(() => {}).finally(over);
    try {
        // The same file may be in the list twice: each goes to an upload of its own.
        const earlier = (await upload.findPreviousUploads()).find((e) => e.uploadUrl && !inUse.has(e.uploadUrl));
        if (earlier) {
            inUse.add(earlier.uploadUrl!);
            upload.resumeFromPreviousUpload(earlier);
        }
    } catch {
        // a browser without storage starts from the beginning
    }
    if (entry.removed) {
        over();
        return;
    }
    upload.start();
    watchSilence();
}

function make(known: Partial<Entry> & Pick<Entry, 'name' | 'size' | 'changed'>): Entry {
    return reactive({ key: ++lastKey, id: null, file: null, progress: 0, stalled: false, error: null, removed: false, ...known });
}

export function startUpload(file: File, changed: () => void): Entry {
    const entry = make({ name: file.name, size: file.size, file, changed });
    if (file.size === 0) entry.error = 'empty';
    else enqueue(entry);
    return entry;
}

// What was not finished before a refresh: waits for its file.
export const unfinishedUpload = (name: string, size: number, changed: () => void) => make({ name, size, changed });
export const wantsFile = (entry: Entry) => !entry.id && !entry.file && !entry.error;
export const fits = (entry: Entry, file: File) => wantsFile(entry) && entry.name === file.name && entry.size === file.size;

export function giveFile(entry: Entry, file: File) {
    entry.name = file.name;
    entry.size = file.size;
    entry.file = file;
    enqueue(entry);
}

export function retryUpload(entry: Entry) {
    if (!entry.file) return;
    entry.error = null;
    enqueue(entry);
}

// An entry for an asset that is on the server already.
export const knownAsset = (asset: Asset, changed: () => void) =>
    make({ name: asset.name, size: asset.size, id: asset.id, progress: 1, changed });

export function removeUpload(entry: Entry) {
    entry.removed = true;
    if (!entry.id && !entry.error) entry.stop?.();
}
