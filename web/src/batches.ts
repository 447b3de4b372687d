// What is said of a batch, everywhere in the same words and colours.
import { computed, ref } from 'vue';
import { t } from './i18n';
import { batches, clock, isComing, isEnded, isOffered, isRunning, jobsOf } from './live';
import type { Batch, Counts, Job, JobState } from './types';

export type Colour = 'success' | 'warning' | 'danger' | 'info' | 'primary';

const outcomes = { done: 'success', partly: 'warning', failed: 'danger', cancelled: 'info' } as const;

export function stateOf(batch: Batch): { text: string; colour: Colour } {
    if (batch.outcome) return { text: t(`outcome.${batch.outcome}`), colour: outcomes[batch.outcome] };
    if (batch.state === 'paused') return { text: t('state.paused'), colour: 'warning' };
    if (batch.place) return { text: t('progress.place', { n: batch.place }), colour: 'info' };
    return { text: t(`state.${batch.state}`), colour: 'primary' };
}

const jobColours: Partial<Record<JobState, Colour>> = { queued: 'info', done: 'success', failed: 'danger', cancelled: 'info', skipped: 'warning' };
export const jobColour = (state: JobState): Colour => jobColours[state] ?? 'primary';
// Its state in a word, which of a machine's job is not always that of the database.
export const jobTag = (job: Job) => (isOffered(job)
    ? { text: t('state.offered'), colour: 'info' as Colour, effect: 'light' as const }
    : { text: t(`state.${isComing(job) ? 'coming' : job.state}`), colour: jobColour(job.state), effect: isRunning(job) ? 'dark' as const : 'light' as const });

// Is the speech part of what a job is called? In a batch of several the video alone does not tell it.
export const hasSpeeches = (job: Job) => (batches.get(job.batch)?.speeches ?? 1) > 1;
export const titleOf = (job: Job) => (hasSpeeches(job) ? `${job.name} + ${job.audio_name}` : job.name);

// What did not turn out, each in a word of its own.
export function lossesOf(counts: Counts): { name: 'failed' | 'cancelled' | 'skipped'; text: string }[] {
    return (['failed', 'cancelled', 'skipped'] as const).filter((name) => counts[name])
        .map((name) => ({ name, text: t(`progress.${name}`, { n: counts[name] }) }));
}

export const percent = (progress: number) => `${(Math.floor(progress * 1000) / 10).toFixed(1)}%`;

// The server's estimate comes with a row; in between it is counted down here.
const cameAt = new WeakMap<Batch, number>();

export function secondsLeft(batch: Batch): number | null {
    if (batch.eta === null || batch.state !== 'active') return null;
    if (!cameAt.has(batch)) cameAt.set(batch, clock.value);
    return Math.max(0, batch.eta - (clock.value - cameAt.get(batch)!) / 1000);
}

export const runningOf = (batch: Batch) => jobsOf(batch.id).filter((j) => isRunning(j) && !isOffered(j));
// How many results are still there: they are deleted, or go when they are old.
export const resultCount = ({ counts }: Batch) => counts.results ?? counts.done;
export const firstResult = (batch: Batch) => jobsOf(batch.id).find((j) => isEnded(j) && j.result)?.result ?? null;

// Those that are not over: what is being worked on, what waits in the order of its turn, what is paused.
const rank = (b: Batch) => (b.state === 'paused' ? 2 : b.counts.running ? 0 : 1);
export const openBatches = computed(() => [...batches.values()].filter((b) => b.state !== 'ended')
    .sort((a, b) => rank(a) - rank(b) || b.priority - a.priority || a.turn - b.turn));

// The batch whose progress somebody wants to see; the batch view goes there and takes it away.
export const wanted = ref<number | null>(null);
