// Uploads by tus: they go on after a lost connection, and after a refresh when the same file is
// chosen again. An entry lives as long as the list it is in.
import { reactive } from 'vue';
import { DetailedError, defaultOptions, Upload } from 'tus-js-client';
import { language } from './i18n';
import { loadAsset } from './live';
import type { Asset } from './types';

const PARALLEL = 3;
const AGAIN_MS = 5000; // after tus gave up for now
const LOCKED = 423; // another request goes on with this upload, or is just ending
const LOCKED_MS = 1000;
const MOVED = 409; // more has arrived than was known; asked again
const TAKEN_MS = 5000; // until a page that took the upload over is looked after; longer each time that happens
const TAKEN_MOST_MS = 60000;
const SILENT_MS = 10000; // a connection that neither moves nor breaks is given up
const SILENT_END_MS = 60000; // all is sent: the server is at work, or it only went into buffers

export interface Entry {
    key: number;
    name: string;
    size: number;
    id: string | null; // the asset, once the server has all of it
    file: File | null; // null before a refresh's file is chosen again, and afterwards
    progress: number; // 0..1
    // Why nothing moves: the network is away (goes on by itself); it is about to go on where an earlier one stopped;
    // another page sends the same file. progress is how far it came all the same.
    held: '' | 'stalled' | 'resuming' | 'elsewhere';
    url: string | null; // of its upload, while it waits to go on with it
    taken: number; // how often another page took the upload over
    error: string | null; // a sentence, or "empty"
    removed: boolean;
    stop?: () => void;
    changed: () => void; // its asset became known
}

const waiting: Entry[] = [];
const inUse = new Set<string>(); // addresses of uploads under way
let running = 0;
let lastKey = 0;

// What is on its way, all of it together. speed: bytes a second over the last seconds; 0 while nothing moves.
export const traffic = reactive({ files: 0, left: 0, speed: 0 });
const WINDOW = 8; // seconds that the speed is taken of
const underWay = new Set<Entry>();
const samples: number[] = []; // of `moved`, once a second
let moved = 0; // bytes sent since the page is open
let measuring: number | undefined;

function measure() {
    samples.push(moved);
    if (samples.length > WINDOW + 1) samples.shift();
    traffic.speed = (moved - samples[0]) / Math.max(1, samples.length - 1);
    traffic.files = underWay.size;
    traffic.left = [...underWay].reduce((sum, e) => sum + e.size * (1 - e.progress), 0);
    if (underWay.size) return;
    clearInterval(measuring);
    measuring = undefined;
    samples.length = 0;
}

function setOut(entry: Entry) {
    underWay.add(entry);
    measuring ??= window.setInterval(measure, 1000);
    measure();
}

function arrive(entry: Entry) {
    if (underWay.delete(entry)) measure();
}

// Who leaves now has to choose the files again. The browser asks in its own words.
window.addEventListener('beforeunload', (event) => { if (underWay.size) event.preventDefault(); });

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
    if (entry.removed) return;
    setOut(entry);
    waiting.push(entry);
    startNext();
}

const statusOf = (error: unknown) => (error instanceof DetailedError && error.originalResponse?.getStatus()) || 0;
// No room (507) stays so until somebody makes room; the others pass.
const passes = (status: number) => status === 0 || status === MOVED || status === LOCKED || status === 429 || (status >= 500 && status !== 507);

function sentence(error: Error): string {
    const body = error instanceof DetailedError ? error.originalResponse?.getBody() : null;
    try {
        return JSON.parse(body ?? '').detail ?? error.message;
    } catch {
        return error.message;
    }
}

const idOf = (url: string) => url.split('/').pop()!;

// How many bytes the server has, also while another connection sends; null when it does not say. Asked of the server
// and not remembered: only it knows what arrived.
async function received(url: string): Promise<number | null> {
    const answer = await fetch(url, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0' } }).catch(() => null);
    const offset = answer?.ok ? answer.headers.get('Upload-Offset') : null;
    return offset === null || offset === undefined ? null : Number(offset);
}

// Not sent to its end and not under way: the network is away, or the server is not ready yet.
function halt(entry: Entry, status: number) {
    entry.held = status === LOCKED || status === MOVED ? 'resuming' : 'stalled';
}

const isTaken = (error: unknown) => error instanceof DetailedError && statusOf(error) === LOCKED && error.originalRequest.getMethod() === 'PATCH';

// Another page may send the same file: the upload is left to it for as long as it gets on there. Else the two would
// take it from each other without end, and a browser sends all of a body before it reads that it was refused.
async function goOnWhenStill(entry: Entry, firstWait: number) {
    let wait = firstWait;
    entry.held = wait === LOCKED_MS ? 'resuming' : 'elsewhere';
    for (let before = await received(entry.url!), now: number | null; ; before = now) {
        if (before !== null) entry.progress = before / entry.size;
        await new Promise((ok) => { setTimeout(ok, wait); });
        if (entry.removed) return;
        now = await received(entry.url!);
        if (now === null || now === before || now === entry.size) break;
        entry.held = 'elsewhere';
        wait = Math.max(wait, TAKEN_MS);
    }
    enqueue(entry);
}

async function begin(entry: Entry, file: File) {
    let watch: number | undefined;
    let isOver = false;
    let sentBefore: number | null = null; // null until the first bytes move
    const over = () => {
        if (isOver) return;
        isOver = true;
        clearTimeout(watch);
        if (upload.url && !entry.url) inUse.delete(upload.url);
        entry.stop = undefined;
        ended();
    };
    const later = (error?: unknown) => {
        if (isOver) return;
        entry.url = upload.url;
        if (isTaken(error)) {
            // The first time it may be the end of an older connection of this very page.
            goOnWhenStill(entry, entry.taken ? Math.min(TAKEN_MOST_MS, TAKEN_MS * 2 ** entry.taken) : LOCKED_MS);
            entry.taken++;
        } else {
            halt(entry, statusOf(error));
            setTimeout(() => enqueue(entry), statusOf(error) === LOCKED ? LOCKED_MS : AGAIN_MS);
        }
        over();
    };
    const giveUp = () => upload.abort().then(() => later(), () => later());
    const watchSilence = () => {
        clearTimeout(watch);
        watch = window.setTimeout(giveUp, entry.progress < 1 ? SILENT_MS : SILENT_END_MS);
    };
    const upload = new Upload(file, {
        endpoint: '/api/v1/uploads',
        retryDelays: [0, 1000, 3000],
        metadata: { filename: entry.name, filetype: file.type, lang: language() },
        headers: { 'Accept-Language': language() },
        removeFingerprintOnSuccess: true,
        onUploadUrlAvailable: () => { inUse.add(upload.url!); },
        onProgress: (sent, total) => {
            moved += Math.max(0, sent - (sentBefore ?? sent));
            sentBefore = sent;
            entry.progress = total ? sent / total : 0;
            entry.held = '';
            watchSilence();
        },
        // What is there is asked for before it goes on.
        onAfterResponse: (request, response) => {
            const offset = request.getMethod() === 'HEAD' ? response.getHeader('Upload-Offset') : null;
            if (offset) entry.progress = Number(offset) / entry.size;
        },
        onShouldRetry: (error) => {
            clearTimeout(watch);
            if (isTaken(error)) return false;
            halt(entry, statusOf(error));
            return passes(statusOf(error));
        },
        onError: (error) => {
            if (passes(statusOf(error))) {
                later(error);
                return;
            }
            entry.held = '';
            entry.error = sentence(error);
            arrive(entry);
            over();
        },
        onSuccess: () => {
            entry.id = idOf(upload.url!);
            entry.progress = 1;
            entry.held = '';
            entry.file = null; // the server has it
            arrive(entry);
            entry.changed();
            loadAsset(entry.id).catch(() => {}); // else the stream brings it
            over();
        },
    });
    entry.stop = () => upload.abort(true).catch(() => {}).finally(over);
    try {
        // The same file may be in the list twice: each goes to an upload of its own.
        const { url } = entry;
        const earlier = (await upload.findPreviousUploads()).find((e) => e.uploadUrl && (url ? e.uploadUrl === url : !inUse.has(e.uploadUrl)));
        if (earlier && !url) {
            entry.url = earlier.uploadUrl;
            inUse.add(entry.url!);
            goOnWhenStill(entry, LOCKED_MS);
            over();
            return;
        }
        if (earlier) upload.resumeFromPreviousUpload(earlier);
    } catch {
        // a browser without storage
    }
    upload.url ??= entry.url; // its end in another page takes it out of the storage
    entry.url = null;
    if (entry.removed) {
        over();
        return;
    }
    upload.start();
    watchSilence();
}

function make(known: Partial<Entry> & Pick<Entry, 'name' | 'size' | 'changed'>): Entry {
    return reactive({
        key: ++lastKey, id: null, file: null, progress: 0, held: '', url: null, taken: 0, error: null, removed: false, ...known,
    });
}

export function startUpload(file: File, changed: () => void): Entry {
    const entry = make({ name: file.name, size: file.size, file, changed });
    if (file.size === 0) entry.error = 'empty';
    else enqueue(entry);
    return entry;
}

// What was not finished before a refresh: waits for its file, and says how far it came.
export function unfinishedUpload(name: string, size: number, changed: () => void): Entry {
    const entry = make({ name, size, changed });
    defaultOptions.urlStorage.findAllUploads().then((all) => {
        const earlier = all.find((e) => e.size === size && e.metadata.filename === name && e.uploadUrl);
        return earlier ? received(earlier.uploadUrl!) : null;
    }).then((offset) => {
        if (offset) entry.progress = Math.max(entry.progress, offset / size);
    }).catch(() => {}); // a browser without storage
    return entry;
}
export const wantsFile = (entry: Entry) => !entry.id && !entry.file && !entry.error;
export const fits = (entry: Entry, file: File) => wantsFile(entry) && entry.name === file.name && entry.size === file.size;

export function giveFile(entry: Entry, file: File) {
    entry.name = file.name;
    entry.size = file.size;
    entry.file = file;
    if (entry.progress) entry.held = 'resuming';
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
    arrive(entry);
    if (entry.url) inUse.delete(entry.url);
    if (!entry.id && !entry.error) entry.stop?.();
}
