// What the server knows, kept up to date: lists once, then one event stream with what changes.
//
// Every change has a number; the stream starts behind the number that the lists came with, so
// nothing falls between. When heartbeats stop, the stream is opened again from the last number.
import { computed, reactive, ref } from 'vue';
import { get, needsToken } from './api.js';

export const batches = reactive(new Map());
export const jobs = reactive(new Map());
export const assets = reactive(new Map());
export const heartbeat = ref(null); // the latest one
export const connected = ref(true);
export const loaded = ref(false);
export const resultsVersion = ref(0); // counts up when results came or went
export const clock = ref(Date.now()); // the server's, once a second

const SHOWN = 20; // batches whose jobs are all loaded at once
const HEARTBEAT_LIMIT_MS = 6000; // they come every 2 s
let clockOffset = 0;
let source = null;
let revision = 0;
let lastHeard = Date.now();
let retry_ms = 500;

function keep(map, rows) {
    for (const row of rows ?? []) map.set(row.id, row);
}

function apply(change) {
    revision = change.rev;
    clockOffset = change.now - Date.now();
    for (const job of change.jobs ?? [])
        if (Boolean(job.result) !== Boolean(jobs.get(job.id)?.result)) resultsVersion.value++;
    keep(batches, change.batches);
    keep(jobs, change.jobs);
    keep(assets, change.assets);
    for (const { kind, id } of change.gone ?? []) {
        ({ batch: batches, job: jobs, asset: assets })[kind]?.delete(id);
        if (kind === 'job') resultsVersion.value++;
    }
}

async function loadLists() {
    const [unfinished, recent, running] = await Promise.all([
        get('/batches?state=active&limit=200'),
        get(`/batches?limit=${SHOWN}`),
        get('/jobs?state=unfinished&limit=1000'),
    ]);
    batches.clear();
    jobs.clear();
    keep(batches, recent.items);
    keep(batches, unfinished.items);
    keep(jobs, running.items);
    // Ended jobs of the batches that are shown.
    const shown = [...unfinished.items.slice(0, SHOWN), ...recent.items.filter((b) => b.state === 'ended').slice(0, 5)];
    await Promise.all(shown.map((b) => loadJobs(b.id)));
    revision = Math.min(unfinished.rev, recent.rev, running.rev);
}

// All jobs of a batch, for views that show them.
export async function loadJobs(batch) {
    const list = await get(`/jobs?batch=${batch}&limit=1000`);
    keep(jobs, list.items);
}

export async function loadAsset(id) {
    const asset = await get(`/assets/${id}`);
    assets.set(asset.id, asset);
    return asset;
}

function openStream() {
    source?.close();
    lastHeard = Date.now();
    source = new EventSource(`/api/v1/events?since=${revision}`);
    const heard = (event, take) => {
        lastHeard = Date.now();
        retry_ms = 500;
        connected.value = true;
        take(JSON.parse(event.data));
    };
    source.addEventListener('change', (event) => heard(event, (change) => {
        if (change.reset) connect();
        else apply(change);
    }));
    source.addEventListener('heartbeat', (event) => heard(event, (beat) => {
        heartbeat.value = beat;
        clockOffset = beat.now - Date.now();
    }));
    source.onerror = () => {
        // EventSource does not come back after an HTTP error; a fresh one does.
        if (source.readyState === EventSource.CLOSED) again();
    };
}

let waiting = null;
function again() {
    connected.value = false;
    source?.close();
    source = null;
    clearTimeout(waiting);
    waiting = setTimeout(connect, retry_ms);
    retry_ms = Math.min(retry_ms * 2, 5000);
}

export async function connect() {
    clearTimeout(waiting);
    try {
        await loadLists();
        loaded.value = true;
        connected.value = true;
        openStream();
    } catch {
        if (needsToken.value) return; // the dialog calls connect() again
        again();
    }
}

setInterval(() => {
    clock.value = Date.now() + clockOffset;
    if (source && Date.now() - lastHeard > HEARTBEAT_LIMIT_MS) again();
}, 1000);

export const sortedBatches = computed(() => [...batches.values()].sort((a, b) => b.id - a.id));

export const isEnded = (job) => ['done', 'failed', 'cancelled'].includes(job.state);
export const isRunning = (job) => ['loading', 'preprocessing', 'generating', 'finishing'].includes(job.state);

export function jobsOf(batch) {
    return [...jobs.values()].filter((job) => job.batch === batch).sort((a, b) => a.position - b.position);
}
