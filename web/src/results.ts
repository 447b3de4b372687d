// Which results are asked for. The list, the zip and the numbers of all pages take the same words, so
// they speak of the same results.
import { get, query } from './api';
import { goTo } from './address';
import { loadDefaults, withoutDefaults } from './defaults';
import { t } from './i18n';
import { loadAsset } from './live';
import { laidOver } from './made';
import { batchSelection } from './selection';
import { ask, attempt, tell, warn } from './tell';
import type { Asset, Batch, Job, List, Options, OwnOptions, Point, Result } from './types';
import { knownAsset } from './uploads';

export const sorts = {
    newest: { sort: 'created', order: 'desc' },
    oldest: { sort: 'created', order: 'asc' },
    name: { sort: 'name', order: 'asc' },
    size: { sort: 'size', order: 'desc' },
    duration: { sort: 'duration', order: 'desc' },
};
export type Sort = keyof typeof sorts;
export type Days = '' | '1' | '7' | '30' | 'own';

export interface Filter {
    search: string;
    batch: string;
    days: Days; // how many, today among them; own: from..to
    from: string; // "2026-11-27" or ""
    to: string;
}

const midnight = (daysAgo: number) => {
    const day = new Date();
    day.setHours(0, 0, 0, 0);
    day.setDate(day.getDate() - daysAgo);
    return day.getTime();
};
// A day of the calendar where the page is open. What comes at its end belongs to the next.
const startOf = (day: string) => new Date(`${day}T00:00`).getTime();
const endOf = (day: string) => {
    const next = new Date(`${day}T00:00`);
    next.setDate(next.getDate() + 1);
    return next.getTime();
};

export function chosenBy({ search, batch, days, from, to }: Filter): Record<string, string | number | undefined> {
    const own = days === 'own';
    return {
        search,
        batch,
        since: own ? (from && startOf(from)) || undefined : days && midnight(Number(days) - 1),
        until: (own && to && endOf(to)) || undefined,
    };
}

const PART = 200;

// Those results of all pages whose jobs are wanted.
async function resultsOf(jobs: Set<number>, known: Map<number, Result>, filter: Filter): Promise<Result[]> {
    const found = new Map([...known].filter(([job]) => jobs.has(job)));
    for (let offset = 0; found.size < jobs.size; offset += PART) {
        const { items } = await get<List<Result>>(`/results${query({ ...chosenBy(filter), offset, limit: PART })}`);
        items.filter((r) => jobs.has(r.job)).forEach((r) => found.set(r.job, r));
        if (items.length < PART) break;
    }
    return [...found.values()];
}

// Who speaks in the videos of these results, by the video, and what options all of them had beside those of their batch.
async function settingsOf(results: Result[]): Promise<{ faces: Record<string, Point>; own: OwnOptions | null }> {
    const made = new Set(results.map((r) => r.job));
    const faces: Record<string, Point> = {};
    const owns: (OwnOptions | null)[] = [];
    for (const batch of new Set(results.map((r) => r.batch))) {
        const { items } = await get<List<Job>>(`/jobs?batch=${batch}&limit=1000`);
        for (const job of items.filter((j) => made.has(j.id))) {
            if (job.face_at) faces[job.video] = job.face_at;
            owns.push(job.options);
        }
    }
    const same = owns.every((own) => JSON.stringify(own) === JSON.stringify(owns[0]));
    return { faces, own: same ? owns[0] ?? null : null };
}

// What was made of a video without a face was wanted anyway.
async function putBack(videos: Asset[], options: Options, faces: Record<string, Point>) {
    const { state, save, removeVideos, clearAudio } = batchSelection;
    removeVideos([...state.videos]);
    clearAudio();
    state.videos = videos.map((v) => knownAsset(v, save));
    await loadDefaults();
    state.options = withoutDefaults(options);
    state.cuesOf = '';
    Object.assign(state.faces, faces);
    for (const v of videos) if (!faces[v.id]) delete state.faces[v.id];
    state.anyway = videos.filter((v) => v.warnings.includes('no_face')).map((v) => v.id);
    save();
    goTo('batch');
    tell(t('results.againReady', { n: videos.length }));
}

// The videos of these results, with the options of their batch and who speaks in them, become the list of the batch; only the
// speech is missing. Those whose video was deleted are left out.
export function again(jobs: Set<number>, known: Map<number, Result>, filter: Filter) {
    return attempt(async () => {
        const results = await resultsOf(jobs, known, filter);
        const ids = [...new Set(results.map((r) => r.source.video).filter((id) => id !== null))];
        const videos = (await Promise.all(ids.map((id) => loadAsset(id).catch(() => null)))).filter((v) => v !== null);
        if (!videos.length) return warn(t('results.againGone'));
        const others = batchSelection.state.videos.filter((e) => !e.id || !ids.includes(e.id)).length;
        if (others && !await ask(t('results.againSure', { n: videos.length, others }), t('results.againYes'))) return undefined;
        const batch = await get<Batch>(`/batches/${results[0].batch}`).catch(() => null);
        const { faces, own } = await settingsOf(results.filter((r) => videos.some((v) => v.id === r.source.video)));
        return putBack(videos, laidOver(batch?.options ?? {}, own), faces);
    });
}
