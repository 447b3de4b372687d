// From what is chosen to a batch.
import { post } from './api';
import { loadDefaults, withoutDefaults } from './defaults';
import { t } from './i18n';
import { findFiles, withFiles } from './listed';
import { assets, batches, clock, jobsOf, loadJobs } from './live';
import { type Line, isPaired, pairsOf, readList, speechesOf } from './pairs';
import { ownOptions, people } from './people';
import { isSound, type Selection } from './selection';
import { ask, attempt, warn } from './tell';
import type { Asset, Batch, Options, OwnOptions, Point } from './types';
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

// A list of pairs; why it is none is said.
export async function takeList(selection: Selection, file: File) {
    const lines = await readList(file);
    if (typeof lines === 'string') warn(t(`pairs.fault.${lines}`, { name: file.name }));
    else selection.setList({ name: file.name, lines });
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
    const speeches = speechesOf(state);
    const spoken = state.list?.lines.some((line) => line.text) && state.pairing === 'list'; // needs no file
    if (!spoken && (!audio || audio.error)) return t('start.noAudio');
    if (!kinds.length) return t(state.videos.length ? 'start.noneUsable' : 'start.noVideo');
    if (speeches.some(wantsFile) || kinds.includes('missing')) return t('start.missing');
    if (speeches.some((e) => !e.id && !e.error) || kinds.includes('uploading') || Object.values(state.materials).some((m) => !m.id && !m.error)) return t('start.uploading');
    if (!isPaired(state)) return audio?.id && assets.get(audio.id)?.state === 'bad' ? t('start.badAudio') : '';
    const { pairs } = pairsOf(state);
    return requestOf(state).jobs?.length ? '' : t(pairs.length ? 'start.noneUsable' : 'start.noPairs');
}

interface Job {
    audio: string; // '': its line's text is to be spoken
    video: string;
    name?: string;
    options?: OwnOptions;
    face_at?: Point;
}

interface Video {
    id?: string;
    person?: string; // instead of id, with what belongs to it
    face_at?: Point;
}

interface Request {
    audio?: string;
    videos?: (string | Video)[];
    jobs?: Job[]; // instead of these two
    options: Options;
    priority: number;
    name?: string;
}

const chosenOf = (state: State) => [...speechesOf(state), ...state.videos];
// The files that the lines of a list name, as they are now.
export const findListed = (state: State) => findFiles(state.pairing === 'list' ? state.list?.lines ?? [] : [], chosenOf(state));
const mayBeMade = (state: State) => (v: Entry) => v.id !== null && ['ready', 'checking'].includes(kindOf(v, state));
const linesOf = new WeakMap<Job, Line>(); // of those that say a text

function jobsToMake(state: State): Job[] {
    const isGood = mayBeMade(state);
    return pairsOf(state).pairs.filter(({ audio, video }) => isGood(video) && (!audio || (audio.id && assets.get(audio.id)?.state !== 'bad')))
        .map(({ audio, video, line }) => {
            const job: Job = { audio: audio?.id ?? '', video: video.id! };
            if (state.faces[video.id!]) job.face_at = state.faces[video.id!];
            if (line?.output) job.name = line.output.replace(/^.*[\\/]/, '');
            const said = withFiles(line?.options ?? {}, chosenOf(state));
            const options = { ...ownOptions(state.people[video.id!], { ...state.options, ...said }), ...said };
            if (Object.keys(options).length) job.options = options;
            if (line && !audio) linesOf.set(job, line);
            return job;
        });
}

// A person that is gone is only its film.
function videoToMake({ people: whose, faces }: State, id: string): string | Video {
    const face = faces[id] && { face_at: faces[id] };
    if (people.has(whose[id])) return { person: whose[id], ...face };
    return face ? { id, ...face } : id;
}

// Without what is known to be of no use.
export function requestOf(state: State): Request {
    const name = state.batchName.trim();
    return {
        ...(isPaired(state) ? { jobs: jobsToMake(state) } : {
            audio: state.audio?.id ?? undefined,
            videos: state.videos.filter(mayBeMade(state)).map(({ id }) => videoToMake(state, id!)),
        }),
        options: state.options,
        priority: state.priority,
        ...(name ? { name } : {}),
    };
}

// --- the same again

const RECENT_MS = 5 * 60 * 1000;
const sent = new Map<number, string>(); // what a batch of this page was made of
const inOrder = (options: Options) => JSON.stringify(Object.entries(options).sort(([a], [b]) => (a < b ? -1 : 1)));
const contentOf = ({ audio, videos, jobs, options }: Request) => JSON.stringify([audio, videos, jobs, inOrder(options)]);
const videoOf = (id: string, face?: Point | null) => `${id} ${face?.map((x) => x.toFixed(3)) ?? ''}`;

// A batch with the same speech, videos, faces and options that waits, runs or was started just now.
function sameBefore(request: Request): Batch | undefined {
    const made = (request.videos ?? []).map((v) => (typeof v === 'string' ? videoOf(v) : videoOf(v.id ?? people.get(v.person!)!.video.id, v.face_at))).sort().join();
    return [...batches.values()].find((b) => {
        if (b.state === 'ended' && (b.outcome === 'cancelled' || clock.value - b.created > RECENT_MS)) return false;
        if (sent.has(b.id)) return sent.get(b.id) === contentOf(request);
        return !request.jobs && b.audio.id === request.audio && inOrder(withoutDefaults(b.options)) === inOrder(withoutDefaults(request.options))
            && jobsOf(b.id).map((j) => videoOf(j.video, j.face_at)).sort().join() === made;
    });
}

// The texts of lines become speeches; the batch waits for them. What is said twice is made once.
async function speakTexts(jobs: Job[]) {
    const made = new Map<string, string>();
    for (const job of jobs.filter((j) => linesOf.has(j))) {
        const { text, voice } = linesOf.get(job)!;
        const key = JSON.stringify([text, voice]);
        if (!made.has(key)) made.set(key, (await post<Asset>('/assets', { text, ...(voice ? { voice } : {}), name: text.trim().slice(0, 20) })).id);
        job.audio = made.get(key)!;
    }
    return true;
}

export async function startBatch(state: State): Promise<Batch | undefined> {
    if (!await attempt(() => findListed(state).then(() => true))) return undefined;
    const reason = reasonNotToStart(state); // a file that was there is gone, and with it the last pair
    if (reason) {
        warn(reason);
        return undefined;
    }
    const request = requestOf(state);
    await loadDefaults();
    const same = sameBefore(request);
    if (same && !await ask(t(same.state === 'ended' ? 'start.againEnded' : 'start.again', { name: same.name }), t('start.againYes'))) return undefined;
    const content = contentOf(request);
    if (request.jobs && !await attempt(() => speakTexts(request.jobs!))) return undefined;
    const batch = await attempt(() => post<Batch>('/batches', request));
    if (!batch) return undefined;
    sent.set(batch.id, content);
    batches.set(batch.id, batch);
    await loadJobs(batch.id).catch(() => {}); // the stream brings them too
    return batch;
}
