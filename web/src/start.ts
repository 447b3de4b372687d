// From what is chosen to a batch.
import { post } from './api';
import { t } from './i18n';
import { assets, batches, loadJobs } from './live';
import type { Selection } from './selection';
import { attempt } from './tell';
import type { Batch } from './types';
import { wantsFile } from './uploads';

// Why it cannot start yet, '' when it can.
export function reasonNotToStart({ audio, videos }: Selection['state']): string {
    const usable = videos.filter((v) => !v.error);
    if (!audio || audio.error) return t('start.noAudio');
    if (!usable.length) return t('start.noVideo');
    if ([audio, ...usable].some(wantsFile)) return t('start.missing');
    if (!audio.id || usable.some((v) => !v.id)) return t('start.uploading');
    if (assets.get(audio.id)?.state === 'bad') return t('start.badAudio');
    return '';
}

export async function startBatch(state: Selection['state']): Promise<Batch | undefined> {
    const name = state.batchName.trim();
    const batch = await attempt(() => post<Batch>('/batches', {
        audio: state.audio?.id,
        videos: state.videos.map((v) => v.id).filter(Boolean),
        options: state.options,
        priority: state.priority,
        ...(name ? { name } : {}),
    }));
    if (!batch) return undefined;
    batches.set(batch.id, batch);
    await loadJobs(batch.id).catch(() => {}); // the stream brings them too
    return batch;
}
