// From what is chosen to a batch.
import { post } from './api';
import { loadDefaults, withoutDefaults } from './defaults';
import { t } from './i18n';
import { assets, batches, clock, jobsOf, loadJobs } from './live';
import { isSound, type Selection } from './selection';
import { ask, attempt } from './tell';
import type { Batch, Options, Point } from './types';
import { type Entry, wantsFile } from './uploads';

type State = Selection['state'];
export type Kind = 'ready' | 'noFace' | 'bad' | 'failed' | 'sound' | 'checking' | 'uploading' | 'missing';

// What can be expected of a video that is chosen.
export function kindOf(entry: Entry, { anyway }: State): Kind {
    const asset = entry.id ? assets.get(entry.id) : null;
    if (entry.error && entry.error !== 'empty') return 'failed';
    if (entry.error || asset?.state === 'bad') return 'bad';
    if (isSound(entry)) return 'sound';
    if (wantsFile(entry)) return 'missing';
    if (!entry.id) return 'uploading';
    if (asset?.state !== 'ready') return 'checking';
    return asset.warnings.includes('no_face') && !anyway.includes(asset.id) ? 'noFace' : 'ready';
}

export const useless: Kind[] = ['noFace', 'bad', 'sound'];
export const problems: Kind[] = [...useless, 'failed']; // these are left out; an upload that failed may be tried again

// Can what is said be looked at with a video already?
export function speechReady({ audio }: State): boolean {
    return Boolean(audio?.id && !audio.error) && ['new', 'ready'].includes(assets.get(audio!.id!)?.state ?? '');
}

// Each file that is in the list already.
export function repeated(videos: Entry[]): Entry[] {
    const seen = new Set<string>();
    return videos.filter((e) => {
        const file = `${e.size} ${e.name}`;
        if (seen.has(file)) return true;
        seen.add(file);
        return false;
    });
}

// Why it cannot start yet, '' when it can.
export function reasonNotToStart(state: State): string {
    const { audio } = state;
    const kinds = state.videos.map((v) => kindOf(v, state)).filter((kind) => !problems.includes(kind));
    if (!audio || audio.error) return t('start.noAudio');
    if (!kinds.length) return t(state.videos.length ? 'start.noneUsable' : 'start.noVideo');
    if (wantsFile(audio) || kinds.includes('missing')) return t('start.missing');
    if (!audio.id || kinds.includes('uploading') || Object.values(state.materials).some((m) => !m.id && !m.error)) return t('start.uploading');
    if (assets.get(audio.id)?.state === 'bad') return t('start.badAudio');
    return '';
}

interface Request {
    audio?: string;
    videos: (string | { id: string; face_at: Point })[];
    options: Options;
    priority: number;
    name?: string;
}

// Without what is known to be of no use.
export function requestOf(state: State): Request {
    const name = state.batchName.trim();
    return {
        audio: state.audio?.id ?? undefined,
        videos: state.videos.filter((v) => v.id && ['ready', 'checking'].includes(kindOf(v, state)))
            .map(({ id }) => (state.faces[id!] ? { id: id!, face_at: state.faces[id!] } : id!)),
        options: state.options,
        priority: state.priority,
        ...(name ? { name } : {}),
    };
}

// --- the same again

const RECENT_MS = 5 * 60 * 1000;
const sent = new Map<number, string>(); // what a batch of this page was made of
const inOrder = (options: Options) => JSON.stringify(Object.entries(options).sort(([a], [b]) => (a < b ? -1 : 1)));
const contentOf = ({ audio, videos, options }: Request) => JSON.stringify([audio, videos, inOrder(options)]);
const videoOf = (id: string, face?: Point | null) => `${id} ${face?.map((x) => x.toFixed(3)) ?? ''}`;

// A batch with the same speech, videos, faces and options that waits, runs or was started just now.
function sameBefore(request: Request): Batch | undefined {
    const made = request.videos.map((v) => (typeof v === 'string' ? videoOf(v) : videoOf(v.id, v.face_at))).sort().join();
    return [...batches.values()].find((b) => {
        if (b.state === 'ended' && (b.outcome === 'cancelled' || clock.value - b.created > RECENT_MS)) return false;
        if (sent.has(b.id)) return sent.get(b.id) === contentOf(request);
        return b.audio.id === request.audio && inOrder(withoutDefaults(b.options)) === inOrder(withoutDefaults(request.options))
            && jobsOf(b.id).map((j) => videoOf(j.video, j.face_at)).sort().join() === made;
    });
}

export async function startBatch(state: State): Promise<Batch | undefined> {
    const request = requestOf(state);
    await loadDefaults();
    const same = sameBefore(request);
    if (same && !await ask(t(same.state === 'ended' ? 'start.againEnded' : 'start.again', { name: same.name }), t('start.againYes'))) return undefined;
    const batch = await attempt(() => post<Batch>('/batches', request));
    if (!batch) return undefined;
    sent.set(batch.id, contentOf(request));
    batches.set(batch.id, batch);
    await loadJobs(batch.id).catch(() => {}); // the stream brings them too
    return batch;
}
