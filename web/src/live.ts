// What the server knows, kept up to date: lists once, then one event stream with what changes.
//
// Every change has a number; the stream starts behind the number that the lists came with, so
// nothing falls between. When heartbeats stop, the stream is opened again where it ended; if the
// server cannot tell what came since, lists are loaded again.
import { computed, ref, shallowReactive, shallowRef, watch } from 'vue';
import { get, needsToken } from './api';
import { isChinese, language } from './i18n';
import type { Asset, Batch, Change, Heartbeat, Job, List } from './types';

// Rows are replaced as a whole, never changed in place.
export const batches = shallowReactive(new Map<number, Batch>());
export const jobs = shallowReactive(new Map<number, Job>());
export const assets = shallowReactive(new Map<string, Asset>());
export const heartbeat = shallowRef<Heartbeat | null>(null); // the latest one
export const connected = ref(true);
export const loaded = ref(false);
export const listsVersion = ref(0); // counts up when everything was loaded anew
export const resultsVersion = ref(0); // counts up when results came, went or have another name
export const clock = ref(Date.now()); // the server's, once a second

// Who works reports every second. Only who has not for so long is worth a word; after 15 s the server takes the job away.
export const LATE_MS = 6000;

const SHOWN = 20; // batches whose jobs are all loaded at once
const HEARTBEAT_LIMIT_MS = 6000; // they come every 2 s
const RETRY_MS = 500;
let clockOffset = 0;
let source: EventSource | null = null;
let revision = 0;
let lastHeard = Date.now();
let retry = RETRY_MS;

function keep<K, T extends { id: K }>(map: Map<K, T>, rows: T[]) {
    for (const row of rows) map.set(row.id, row);
}

function apply(change: Change) {
    revision = change.rev;
    clockOffset = change.now - Date.now();
    for (const job of change.jobs)
        if (job.result?.name !== jobs.get(job.id)?.result?.name) resultsVersion.value++;
    keep(batches, change.batches);
    keep(jobs, change.jobs);
    keep(assets, change.assets);
    for (const { kind, id } of change.gone) {
        if (kind === 'asset') assets.delete(String(id));
        else (kind === 'batch' ? batches : jobs).delete(Number(id));
        if (kind === 'job') resultsVersion.value++;
    }
}

async function loadLists() {
    const [unfinished, recent, running] = await Promise.all([
        get<List<Batch>>('/batches?state=active&limit=200'),
        get<List<Batch>>(`/batches?limit=${SHOWN}`),
        get<List<Job>>('/jobs?state=unfinished&limit=1000'),
    ]);
    // Ended jobs of the batches that are shown.
    const shown = [...unfinished.items.slice(0, SHOWN), ...recent.items.filter((b) => b.state === 'ended').slice(0, 5)];
    const others = await Promise.all([...new Set(shown.map((b) => b.id))].map((id) => get<List<Job>>(`/jobs?batch=${id}&limit=1000`)));
    batches.clear();
    jobs.clear();
    keep(batches, recent.items);
    keep(batches, unfinished.items);
    keep(jobs, running.items);
    others.forEach((list) => keep(jobs, list.items));
    revision = Math.min(unfinished.rev, recent.rev, running.rev, ...others.map((list) => list.rev));
    resultsVersion.value++;
    listsVersion.value++;
}

// Rows that were asked for, but for those of which the stream brought something newer meanwhile.
async function load<K, T extends { id: K }>(map: Map<K, T>, ask: () => Promise<T[]>) {
    const before = new Map(map);
    const rows = await ask();
    keep(map, rows.filter((row) => map.get(row.id) === before.get(row.id)));
}

// All jobs of a batch, for views that show them.
export function loadJobs(batch: number) {
    return load(jobs, async () => (await get<List<Job>>(`/jobs?batch=${batch}&limit=1000`)).items);
}

export async function loadBatch(id: number) {
    await load(batches, async () => [await get<Batch>(`/batches/${id}`)]);
    await loadJobs(id);
}

export async function loadAsset(id: string) {
    await load(assets, async () => [await get<Asset>(`/assets/${id}`)]);
    return assets.get(id)!;
}

function openStream() {
    source?.close();
    lastHeard = Date.now();
    const stream = new EventSource(`/api/v1/events?since=${revision}&lang=${language()}`);
    source = stream;
    const heard = <T>(event: MessageEvent<string>, take: (data: T) => void) => {
        if (stream !== source) return;
        lastHeard = Date.now();
        retry = RETRY_MS;
        connected.value = true;
        take(JSON.parse(event.data));
    };
    stream.addEventListener('change', (event) => heard<Change>(event, (change) => {
        if (change.reset) connect(true);
        else apply(change);
    }));
    stream.addEventListener('heartbeat', (event) => heard<Heartbeat>(event, (beat) => {
        heartbeat.value = beat;
        clockOffset = beat.now - Date.now();
    }));
    stream.onerror = () => {
        // EventSource does not come back after an HTTP error; a fresh one does.
        if (stream === source && stream.readyState === EventSource.CLOSED) again();
    };
}

let waiting: number | undefined;
function again() {
    connected.value = false;
    source?.close();
    source = null;
    clearTimeout(waiting);
    waiting = window.setTimeout(() => connect(), retry);
    retry = Math.min(retry * 2, 5000);
}

export async function connect(anew = false) {
    clearTimeout(waiting);
    try {
        // A stream does not say why it fails; any request does.
        if (anew || !loaded.value) await loadLists();
        else await get('/batches?limit=1');
        loaded.value = true;
        connected.value = true;
        openStream();
    } catch {
        if (needsToken.value) return; // the dialog loads the page again
        again();
    }
}

// Sentences come in the language of whoever asks.
watch(isChinese, () => loaded.value && connect(true));

setInterval(() => {
    clock.value = Date.now() + clockOffset;
    if (source && Date.now() - lastHeard > HEARTBEAT_LIMIT_MS) again();
}, 1000);

export const sortedBatches = computed(() => [...batches.values()].sort((a, b) => b.id - a.id));

export const isEnded = (job: Job) => ['done', 'failed', 'cancelled', 'skipped'].includes(job.state);
export const isRunning = (job: Job) => job.state !== 'queued' && !isEnded(job);
// On its way to whichever machine has a free place.
export const isOffered = (job: Job) => isRunning(job) && job.worker === '';

const nodes = computed(() => new Map((heartbeat.value?.nodes ?? []).map((n) => [n.name, n.title || n.name])));
// The machine that makes it; '' on this one.
export const machineOf = (job: Job): string => (isRunning(job) && job.worker && nodes.value.get(job.worker)) || '';
// It is made, and on its way from there.
export const isComing = (job: Job) => job.state === 'finishing' && job.progress >= 1 && machineOf(job) !== '';

// Sorted once for all who ask, however many batches are on the screen.
const jobsByBatch = computed(() => {
    const groups = new Map<number, Job[]>();
    for (const job of jobs.values()) {
        const group = groups.get(job.batch);
        if (group) group.push(job);
        else groups.set(job.batch, [job]);
    }
    for (const group of groups.values()) group.sort((a, b) => a.position - b.position);
    return groups;
});

export const jobsOf = (batch: number): Job[] => jobsByBatch.value.get(batch) ?? [];
