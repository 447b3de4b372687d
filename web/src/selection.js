// The speech and the videos chosen for the next batch, one set for each tab. They are remembered
// by their asset's number, so a refresh shows the same list.
import { reactive } from 'vue';
import { get } from './api.js';
import { assets } from './live.js';
import { knownAsset, removeUpload, startUpload } from './uploads.js';

function make(name) {
    const key = `koubo.${name}`;
    const state = reactive({ audio: null, videos: [], unfinished: [], options: {}, batchName: '', priority: 5 });

    function save() {
        const note = (e) => (e?.id ? { id: e.id, name: e.name } : e ? { name: e.name } : null);
        localStorage.setItem(key, JSON.stringify({
            audio: note(state.audio),
            videos: state.videos.filter((e) => !e.error).map(note),
            options: state.options,
        }));
    }

    async function restore() {
        let saved;
        try {
            saved = JSON.parse(localStorage.getItem(key));
        } catch {
            // written by another version
        }
        if (!saved) return;
        state.options = saved.options ?? {};
        const find = async (e) => {
            if (!e?.id) return null;
            const asset = await get(`/assets/${e.id}`).catch(() => null);
            if (!asset) return null;
            assets.set(asset.id, asset);
            return knownAsset(asset, save);
        };
        const [audio, ...videos] = await Promise.all([saved.audio, ...(saved.videos ?? [])].map(find));
        state.audio ??= audio;
        state.videos.unshift(...videos.filter(Boolean));
        state.unfinished = [saved.audio, ...(saved.videos ?? [])].filter((e) => e && !e.id).map((e) => e.name);
    }

    function forget(name) {
        state.unfinished = state.unfinished.filter((n) => n !== name);
    }

    return {
        state,
        save,
        restore,
        setAudio(file) {
            if (state.audio) removeUpload(state.audio);
            forget(file.name);
            state.audio = startUpload(file, save);
            save();
        },
        setAudioAsset(asset) {
            if (state.audio) removeUpload(state.audio);
            state.audio = knownAsset(asset, save);
            save();
        },
        clearAudio() {
            if (state.audio) removeUpload(state.audio);
            state.audio = null;
            save();
        },
        addVideos(files) {
            for (const file of files) {
                forget(file.name);
                state.videos.push(startUpload(file, save));
            }
            save();
        },
        removeVideos(entries) {
            const gone = new Set(entries);
            gone.forEach(removeUpload);
            state.videos = state.videos.filter((e) => !gone.has(e));
            save();
        },
    };
}

export const batchSelection = make('batch');
export const singleSelection = make('single');
