// From what is chosen to a batch.
import { post } from './api.js';
import { t } from './i18n.js';
import { assets, batches, loadJobs } from './live.js';
import { attempt } from './tell.js';

// Why it cannot start yet, '' when it can.
export function reasonNotToStart(state) {
    const { audio } = state;
    const videos = state.videos.filter((v) => !v.error);
    if (!audio || audio.error) return t('start.noAudio');
    if (!videos.length) return t('start.noVideo');
    if (!audio.id || videos.some((v) => !v.id)) return t('start.uploading');
    const asset = assets.get(audio.id);
    if (asset?.state === 'bad') return t('start.badAudio');
    return '';
}

export async function startBatch(state) {
    const batch = await attempt(() => post('/batches', {
        audio: state.audio.id,
        videos: state.videos.filter((v) => v.id).map((v) => v.id),
        options: state.options,
        priority: state.priority,
        ...(state.batchName.trim() ? { name: state.batchName.trim() } : {}),
    }));
    if (!batch) return null;
    batches.set(batch.id, batch);
    await loadJobs(batch.id).catch(() => {});
    return batch;
}
