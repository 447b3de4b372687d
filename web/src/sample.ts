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
// What was heard already needs no second making, as long as the server has it (an hour) and the voices are the same.
const known = new Map<string, string>();
let turn = 0;

export const forgetSamples = () => known.clear();

export function hush() {
    turn++;
    player?.pause();
    player = undefined;
    waiting.value = heard.value = '';
}

async function make(wish: SampleWish): Promise<string | undefined> {
    const sample = await attempt(() => post<Sample>('/voices/sample', wish));
    if (sample && !sample.ok) warn(sample.error ?? t('voice.silent'));
    return sample?.ok ? sample.content : undefined;
}

// False: there is nothing to be heard (any more).
async function begin(content: string, mine: number): Promise<boolean> {
    const sound = new Audio(content);
    player = sound;
    const end = () => { if (mine === turn) heard.value = ''; };
    sound.onended = end;
    sound.onerror = end;
    return sound.play().then(() => true, () => false);
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
    let isHeard = Boolean(content) && await begin(content!, mine);
    if (!isHeard && mine === turn) {
        content = await make(wish);
        if (mine !== turn) return;
        isHeard = Boolean(content) && await begin(content!, mine);
        if (content && !isHeard && mine === turn) warn(t('voice.silent'));
    }
    if (mine !== turn) return;
    waiting.value = '';
    if (isHeard) known.set(what, content!);
    else known.delete(what);
    heard.value = isHeard && !player?.ended ? key : '';
}
