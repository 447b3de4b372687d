// A look before the long run: the first seconds of a result, made anew when an option changes, and
// one picture of it at once while a slider moves. docs/preview.md.
import { computed, onScopeDispose, ref, shallowRef, watch } from 'vue';
import { ApiError, del, get, post, query } from './api';
import { language } from './i18n';
import type { Options, Point, Preview } from './types';

const PAUSE_MS = 700; // without a change, before the film is made again
const POLL_MS = 200;

interface What {
    audio: string;
    video: string;
    face_at?: Point;
    options: Options;
}

export function usePreview(what: () => What, now: () => number) {
    // Nobody else can name it, and so end what is made for this window.
    const viewer = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');
    const film = shallowRef<Preview | null>(null); // the latest that is whole
    const still = ref(''); // the picture in its place, '' = none
    const progress = ref<number | null>(null); // of the one that is being made
    const error = ref('');
    let made = 0; // films that were asked for
    let running = ''; // its id
    let fetching: AbortController | null = null;
    let picture = Promise.resolve(); // the still that is on its way
    let timer: number | undefined;
    let ended = false;

    const failed = (e: unknown) => { error.value = e instanceof ApiError ? e.message : String(e); };

    function dropStill() {
        fetching?.abort();
        fetching = null;
        if (still.value) URL.revokeObjectURL(still.value);
        still.value = '';
    }

    async function makeFilm() {
        const mine = ++made;
        clearTimeout(timer);
        error.value = '';
        progress.value = 0;
        try {
            await picture; // the server drops what is not made when more is asked for
            if (mine !== made || ended) return;
            let preview = await post<Preview>('/previews', { ...what(), viewer });
            running = preview.id;
            if (ended) del(`/previews/${running}`).catch(() => {});
            while (preview.state === 'waiting' || preview.state === 'running') {
                await new Promise((ok) => { setTimeout(ok, POLL_MS); });
                if (mine !== made || ended) return;
                preview = await get<Preview>(`/previews/${preview.id}`);
                progress.value = preview.progress;
            }
            if (mine !== made || ended) return;
            if (preview.state === 'done') film.value = preview;
            else if (preview.error?.code !== 'cancelled') error.value = preview.error?.text ?? '';
        } catch (e) {
            if (mine === made) failed(e);
        } finally {
            if (mine === made) progress.value = null;
        }
    }

    // The newest one counts; the server drops what was asked for before.
    async function makeStill() {
        fetching?.abort();
        const mine = new AbortController();
        fetching = mine;
        const { audio, video, face_at, options } = what();
        const address = `/api/v1/preview.jpg${query({ audio, video, viewer, at: Math.max(0, now()).toFixed(2), face_at: face_at?.join(','), options: JSON.stringify(options) })}`;
        try {
            const response = await fetch(address, { signal: mine.signal, headers: { 'Accept-Language': language() } });
            if (!response.ok) return; // the film says why
            const picture = URL.createObjectURL(await response.blob());
            if (mine !== fetching) {
                URL.revokeObjectURL(picture);
                return;
            }
            if (still.value) URL.revokeObjectURL(still.value);
            still.value = picture;
        } catch {
            // given up, or the server is away
        }
    }

    // Something has changed: its picture now, the film when nothing more changes.
    function changed() {
        made++; // what is being made is of other options
        progress.value = null;
        if (film.value) picture = makeStill();
        clearTimeout(timer);
        timer = window.setTimeout(makeFilm, film.value ? PAUSE_MS : 0);
    }

    watch(film, dropStill, { flush: 'post' });
    watch(() => JSON.stringify(what()), changed);
    void makeFilm();
    onScopeDispose(() => {
        ended = true;
        clearTimeout(timer);
        dropStill();
        if (running) del(`/previews/${running}`).catch(() => {});
    });
    return { film, still, progress, error, again: makeFilm, busy: computed(() => progress.value !== null) };
}

// The second of the film that a result shows at one of its own, as the option "loop" has it.
export function sourceTime(at: number, start: number, length: number, loop: string): number {
    const span = length - start;
    if (span <= 0 || at < span) return start + at;
    if (loop === 'freeze' || loop === 'none') return length;
    const round = Math.floor(at / span);
    const into = at - round * span;
    return loop === 'restart' || round % 2 === 0 ? start + into : length - into;
}
