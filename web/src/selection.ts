// The speech and the videos chosen for the next batch, one set for each tab. They are remembered
// by their asset's number, so a refresh shows the same list.
import { reactive, watch } from 'vue';
import { ApiError } from './api';
import { useOf } from './files';
import { t } from './i18n';
import { assets, listsVersion, loadAsset } from './live';
import { isPaired, type Line, type Pairing } from './pairs';
import { warn } from './tell';
import type { Asset, Options, Person, Point } from './types';
import { type Entry, fits, giveFile, knownAsset, removeUpload, startUpload, unfinishedUpload } from './uploads';

interface Note {
    id?: string;
    name: string;
    size: number;
}
interface Speech {
    text: string;
    voice: string;
    speed: number; // 1: as the voice speaks
    pause: number; // between sentences, seconds
}
interface Saved {
    audio: Note | null;
    videos: Note[];
    options?: Options;
    cuesOf?: string;
    cuesFor?: string;
    faces?: Record<string, Point>;
    people?: Record<string, string>;
    anyway?: string[];
    more?: Note[];
    pairing?: Pairing;
    list?: { name: string; lines: Line[] } | null;
    speech?: Partial<Speech>;
}

export const isSoundFile = (file: { name: string; type?: string }) => useOf(file) === 'audio';
// What the server found, else what its name says.
export const isSound = (entry: Entry) => {
    const kind = entry.id && assets.get(entry.id)?.kind;
    return kind ? kind === 'audio' : isSoundFile({ name: entry.name, type: entry.file?.type });
};
const isFoundSound = (entry: Entry) => Boolean(entry.id) && assets.get(entry.id!)?.kind === 'audio';

function make(name: string) {
    const key = `koubo.${name}`;
    const state = reactive({
        audio: null as Entry | null,
        more: [] as Entry[], // further speeches
        pairing: 'each' as Pairing,
        list: null as { name: string; lines: Line[] } | null,
        videos: [] as Entry[],
        options: {} as Options,
        cuesOf: '', // what subtitles was before somebody changed them: text or a file's id; '': nobody knows
        cuesFor: '', // and with which speech, its asset
        materials: {} as Record<string, Entry>, // files on their way that options will name
        batchName: '',
        priority: 5,
        people: {} as Record<string, string>, // whose settings a video has, by its asset: the id of a person
        faces: {} as Record<string, Point>, // who speaks, by the video's asset; else the option says
        anyway: [] as string[], // assets to be tried though no face was seen in them
        speech: { text: '', voice: '', speed: 1, pause: 0.35 } as Speech, // to be spoken by a voice
    });

    let restoring = false; // what is remembered is still to come, and stays remembered
    const note = (e: Entry): Note => (e.id ? { id: e.id, name: e.name, size: e.size } : { name: e.name, size: e.size });
    function save() {
        if (restoring) return;
        const isListed = (id: string) => state.videos.some((e) => e.id === id);
        const saved: Saved = {
            audio: state.audio && !state.audio.error ? note(state.audio) : null,
            videos: state.videos.filter((e) => !e.error).map(note),
            more: state.more.filter((e) => !e.error).map(note),
            pairing: state.pairing,
            list: state.list,
            options: state.options,
            cuesOf: state.cuesOf,
            cuesFor: state.cuesFor,
            faces: Object.fromEntries(Object.entries(state.faces).filter(([id]) => isListed(id))),
            people: Object.fromEntries(Object.entries(state.people).filter(([id]) => isListed(id))),
            anyway: state.anyway.filter(isListed),
            speech: state.speech,
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
            saved = JSON.parse(localStorage.getItem(key) ?? '') ?? {};
        } catch {
            return; // nothing, or written by another version
        }
        restoring = true;
        state.options = saved.options ?? {};
        state.cuesOf = saved.cuesOf ?? '';
        state.cuesFor = saved.cuesFor ?? saved.audio?.id ?? '';
        state.faces = saved.faces ?? {};
        state.people = saved.people ?? {};
        state.anyway = saved.anyway ?? [];
        state.pairing = saved.pairing ?? 'each';
        state.list = saved.list ?? null;
        Object.assign(state.speech, saved.speech);
        try {
            await restoreFiles(saved);
        } finally {
            restoring = false;
        }
        save();
    }

    async function restoreFiles(saved: Saved) {
        const notes = saved.more ?? [];
        const [audio, ...others] = await Promise.all([saved.audio, ...notes, ...(saved.videos ?? [])].map(find));
        state.audio ??= audio;
        state.more.unshift(...others.slice(0, notes.length).filter((e) => e !== null));
        state.videos.unshift(...others.slice(notes.length).filter((e) => e !== null));
    }

    function setAudio(entry: Entry | null) {
        if (state.audio) removeUpload(state.audio);
        state.audio = entry;
        save();
    }

    function setAudioFile(file: File) {
        if (state.audio && fits(state.audio, file)) giveFile(state.audio, file);
        else setAudio(startUpload(file, save));
    }

    // The first one where there is none, the others behind it.
    function addSpeeches(files: File[]) {
        for (const file of files) {
            const missing = state.more.find((e) => fits(e, file));
            if (missing) giveFile(missing, file);
            else if (!state.audio || fits(state.audio, file)) setAudioFile(file);
            else state.more.push(startUpload(file, save));
        }
        save();
    }

    // Who is behind it takes its place.
    function removeSpeech(entry: Entry) {
        removeUpload(entry);
        if (state.audio === entry) state.audio = state.more.shift() ?? null;
        else state.more = state.more.filter((e) => e !== entry);
        save();
    }

    // A sound among the videos becomes the speech.
    function useAsSpeech(entry: Entry) {
        state.videos = state.videos.filter((e) => e !== entry);
        setAudio(entry);
    }

    // Their uploads go on until forget() is called; undo() puts them back where they were.
    function takeOut(entries: Entry[]) {
        const gone = new Set(entries);
        const places = state.videos.map((entry, at) => ({ entry, at })).filter(({ entry }) => gone.has(entry));
        state.videos = state.videos.filter((e) => !gone.has(e));
        save();
        return {
            undo() {
                places.forEach(({ entry, at }) => state.videos.splice(at, 0, entry));
                save();
            },
            forget: () => gone.forEach(removeUpload),
        };
    }

    // By itself only when the server finds it out, not when the speech is taken away later.
    watch(() => state.videos.filter(isFoundSound).map((e) => e.key), (now, before) => {
        const found = state.videos.find((e) => now.includes(e.key) && !before.includes(e.key));
        if (found && !state.audio) useAsSpeech(found);
    });
    watch(() => state.speech, save, { deep: true });

    // A list of subtitles that was made of a speech's text belongs to that speech, and to no other; one of a file was for whatever is said.
    const cuesFit = () => !Array.isArray(state.options.subtitles) || state.cuesOf !== 'text'
        || (!isPaired(state) && (!state.audio?.id || !state.cuesFor || state.audio.id === state.cuesFor));
    watch(cuesFit, (fit) => {
        if (fit) return;
        state.options = { ...state.options, subtitles: 'text' };
        save();
        warn(t('captions.editedGone'));
    });

    // The stream tells only what changes after the lists were loaded.
    watch(listsVersion, () => {
        for (const entry of [state.audio, ...state.more, ...state.videos])
            if (entry?.id) loadAsset(entry.id).catch(() => {});
    });

    return {
        state,
        save,
        restore,
        setAudioFile,
        useAsSpeech,
        addSpeeches,
        removeSpeech,
        choosePairing(pairing: Pairing) {
            state.pairing = pairing;
            save();
        },
        setList(list: { name: string; lines: Line[] } | null) {
            state.list = list;
            state.pairing = list ? 'list' : 'each';
            save();
        },
        setAudioAsset: (asset: Asset) => setAudio(knownAsset(asset, save)),
        clearAudio() {
            if (state.audio) removeSpeech(state.audio);
        },
        // The files that were missing after a refresh go where they were, a sound to the speech if that has its place free.
        addVideos(files: File[]) {
            for (const file of files) {
                const missing = state.videos.find((e) => fits(e, file));
                if (missing) giveFile(missing, file);
                else if (isSoundFile(file) && !state.audio) setAudioFile(file);
                else state.videos.push(startUpload(file, save));
            }
            save();
        },
        removeVideos: (entries: Entry[]) => takeOut(entries).forget(),
        takeOut,
        // A person's film, with what belongs to it.
        addPerson(person: Person) {
            state.people[person.video.id] = person.id;
            if (person.face_at) state.faces[person.video.id] = person.face_at;
            else delete state.faces[person.video.id];
            state.videos.push(knownAsset(person.video, save));
            save();
            loadAsset(person.video.id).catch(() => {});
        },
        // Only the film from now on.
        leavePerson(video: string) {
            delete state.people[video];
            save();
        },
        chooseFace(video: string, at: Point | null) {
            if (at) state.faces[video] = at;
            else delete state.faces[video];
            save();
        },
        tryAnyway(video: string, on: boolean) {
            state.anyway = [...state.anyway.filter((id) => id !== video), ...(on ? [video] : [])];
            save();
        },
    };
}

export type Selection = ReturnType<typeof make>;
export const batchSelection = make('batch');
export const singleSelection = make('single');
