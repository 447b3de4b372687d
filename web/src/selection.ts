// The speech and the videos chosen for the next batch, one set for each tab. They are remembered
// by their asset's number, so a refresh shows the same list.
import { reactive, watch } from 'vue';
import { ApiError } from './api';
import { listsVersion, loadAsset } from './live';
import type { Asset, Options } from './types';
import { type Entry, fits, giveFile, knownAsset, removeUpload, startUpload, unfinishedUpload } from './uploads';

interface Note {
    id?: string;
    name: string;
    size: number;
}
interface Saved {
    audio: Note | null;
    videos: Note[];
    options?: Options;
}

function make(name: string) {
    const key = `koubo.${name}`;
    const state = reactive({
        audio: null as Entry | null,
        videos: [] as Entry[],
        options: {} as Options,
        batchName: '',
        priority: 5,
    });

    const note = (e: Entry): Note => (e.id ? { id: e.id, name: e.name, size: e.size } : { name: e.name, size: e.size });
    function save() {
        const saved: Saved = {
            audio: state.audio && !state.audio.error ? note(state.audio) : null,
            videos: state.videos.filter((e) => !e.error).map(note),
            options: state.options,
        };
        localStorage.setItem(key, JSON.stringify(saved));
    }

    async function find(e: Note | null): Promise<Entry | null> {
        if (!e?.name) return null;
        if (!e.id) return unfinishedUpload(e.name, e.size, save);
        try {
            return knownAsset(await loadAsset(e.id), save);
        } catch (error) {
            if (error instanceof ApiError && error.status === 404) return null;
            // The server is away: what it knows comes when it is back.
            return Object.assign(unfinishedUpload(e.name, e.size, save), { id: e.id, progress: 1 });
        }
    }

    async function restore() {
        let saved: Saved;
        try {
            saved = JSON.parse(localStorage.getItem(key) ?? '');
        } catch {
            return; // nothing, or written by another version
        }
        state.options = saved.options ?? {};
        const [audio, ...videos] = await Promise.all([saved.audio, ...(saved.videos ?? [])].map(find));
        state.audio ??= audio;
        state.videos.unshift(...videos.filter((e) => e !== null));
    }

    function setAudio(entry: Entry | null) {
        if (state.audio) removeUpload(state.audio);
        state.audio = entry;
        save();
    }

    // The stream tells only what changes after the lists were loaded.
    watch(listsVersion, () => {
        for (const entry of [state.audio, ...state.videos])
            if (entry?.id) loadAsset(entry.id).catch(() => {});
    });

    return {
        state,
        save,
        restore,
        setAudioFile(file: File) {
            if (state.audio && fits(state.audio, file)) giveFile(state.audio, file);
            else setAudio(startUpload(file, save));
        },
        setAudioAsset: (asset: Asset) => setAudio(knownAsset(asset, save)),
        clearAudio: () => setAudio(null),
        // The files that were missing after a refresh go where they were.
        addVideos(files: File[]) {
            for (const file of files) {
                const missing = state.videos.find((e) => fits(e, file));
                if (missing) giveFile(missing, file);
                else state.videos.push(startUpload(file, save));
            }
            save();
        },
        removeVideos(entries: Entry[]) {
            const gone = new Set(entries);
            gone.forEach(removeUpload);
            state.videos = state.videos.filter((e) => !gone.has(e));
            save();
        },
    };
}

export type Selection = ReturnType<typeof make>;
export const batchSelection = make('batch');
export const singleSelection = make('single');
