// Which view is open: the part of the address behind #, as "results?batch=7".
import { computed, ref } from 'vue';

export const viewNames = ['batch', 'single', 'queue', 'results', 'log', 'system'] as const;
export type View = (typeof viewNames)[number];

const hash = ref(window.location.hash.slice(1));
window.addEventListener('hashchange', () => { hash.value = window.location.hash.slice(1); });

const name = computed(() => hash.value.split('?')[0]);
export const view = computed<View>(() => viewNames.find((v) => v === name.value) ?? 'batch');
export const isUnknown = computed(() => name.value !== '' && !(viewNames as readonly string[]).includes(name.value));

export const parameter = (key: string) => new URLSearchParams(hash.value.split('?')[1] ?? '').get(key) ?? '';

export function goTo(to: View, parameters = '') {
    window.location.hash = parameters ? `${to}?${parameters}` : to;
}
