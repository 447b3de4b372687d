// Tells that a batch which was started in this tab is over: by a notification of the browser where that is allowed
// (a secure address, and the user said yes), else by a short sound; and in the title while nobody looks at the page.
import { ref, watch } from 'vue';
import { lossesOf, stateOf } from './batches';
import { joined } from './format';
import { t } from './i18n';
import { batches } from './live';
import type { Batch } from './types';

const KEY = 'koubo.remind';
const STARTED = 'koubo.started'; // of this tab, over a refresh

export const remind = ref(localStorage.getItem(KEY) === 'yes');
export const titleNote = ref(''); // what the title says in turns with its own words

const readStarted = (): number[] => JSON.parse(sessionStorage.getItem(STARTED) ?? '[]');
export function remindOf(batch: number) {
    sessionStorage.setItem(STARTED, JSON.stringify([...readStarted(), batch].slice(-50)));
}

const canNotify = () => 'Notification' in window && window.isSecureContext;

// Asking is allowed only while something is pressed.
export async function setRemind(on: boolean) {
    remind.value = on;
    localStorage.setItem(KEY, on ? 'yes' : 'no');
    if (on && canNotify() && Notification.permission === 'default') await Notification.requestPermission();
}

const NOTES_HZ = [660, 880];
const NOTE_S = 0.18;

function chime() {
    const context = new AudioContext();
    const volume = context.createGain();
    volume.gain.value = 0.15;
    volume.connect(context.destination);
    NOTES_HZ.forEach((hz, i) => {
        const note = context.createOscillator();
        note.frequency.value = hz;
        note.connect(volume);
        note.start(context.currentTime + i * NOTE_S);
        note.stop(context.currentTime + (i + 1) * NOTE_S);
        note.onended = () => { if (i + 1 === NOTES_HZ.length) context.close(); };
    });
}

function tellEnd(batch: Batch) {
    const { counts } = batch;
    const what = joined([t('progress.done', { n: counts.done, total: counts.total }), ...lossesOf(counts).map((l) => l.text)]);
    if (document.hidden) titleNote.value = `${stateOf(batch).text} · ${batch.name}`;
    if (!remind.value) return;
    if (canNotify() && Notification.permission === 'granted') {
        try {
            const note = new Notification(`${batch.name} · ${stateOf(batch).text}`, { body: what, icon: '/favicon.svg', tag: `koubo-${batch.id}` });
            note.onclick = () => {
                window.focus();
                window.location.hash = `#results?batch=${batch.id}`;
            };
            return;
        } catch {
            // phones have the class and refuse to make one
        }
    }
    chime();
}

const open = new Set<number>(); // those of this tab that were seen before their end
watch(() => [...batches.values()], (rows) => {
    const started = new Set(readStarted());
    for (const batch of rows) {
        if (batch.state !== 'ended') {
            if (started.has(batch.id)) open.add(batch.id);
        } else if (open.delete(batch.id) && batch.outcome !== 'cancelled') tellEnd(batch); // who cancels knows it
    }
});
document.addEventListener('visibilitychange', () => { if (!document.hidden) titleNote.value = ''; });
