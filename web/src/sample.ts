// A sentence that is heard: one at a time in the whole page.
import { ref } from 'vue';
import { post } from './api';
import { t } from './i18n';
import { attempt, warn } from './tell';

export interface SampleWish {
    text: string;
    voice?: string;
    speed?: number;
}
interface Sample {
    ok: boolean;
    content?: string;
    error?: string;
}

export const waiting = ref(''); // whose sound is being made
export const heard = ref(''); // whose sound is played
let player: HTMLAudioElement | undefined;
const known = new Map<string, string>(); // what was heard already needs no second making
let turn = 0;

export function hush() {
    turn++;
    player?.pause();
    player = undefined;
    waiting.value = heard.value = '';
}

// key: what the button belongs to; pressed again it is silent.
export async function hear(key: string, wish: SampleWish) {
    const again = heard.value === key || waiting.value === key;
    hush();
    if (again) return;
    const mine = turn;
    const what = JSON.stringify(wish);
    waiting.value = key;
    let content = known.get(what);
    if (!content) {
        const sample = await attempt(() => post<Sample>('/voices/sample', wish));
        if (sample && !sample.ok) warn(sample.error ?? t('voice.silent'));
        content = sample?.ok ? sample.content : undefined;
        if (content) known.set(what, content);
    }
    if (mine !== turn) return;
    waiting.value = '';
    if (!content) return;
    player = new Audio(content);
    player.onended = () => { if (mine === turn) heard.value = ''; };
    player.onerror = () => { known.delete(what); player?.onended?.(new Event('ended')); };
    heard.value = key;
    await player.play().catch(() => { if (mine === turn) heard.value = ''; });
}
