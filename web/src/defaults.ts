// What the server does where a batch does not say: it writes that among the batch's options.
import { shallowRef } from 'vue';
import { get } from './api';
import type { Options, System } from './types';

export const defaults = shallowRef<Options>({});
export const ENGLISH_LABEL = 'AI-generated'; // what the server writes for who reads English
let loaded = false;

export async function loadDefaults(system?: System | null) {
    const told = system ?? (loaded ? null : await get<System>('/system').catch(() => null));
    if (!told) return;
    defaults.value = told.defaults;
    loaded = true;
}

// Of a batch, what somebody chose.
export function withoutDefaults(options: Options): Options {
    const added = { ai_label_text: ENGLISH_LABEL, ...defaults.value } as Options;
    return Object.fromEntries(Object.entries(options).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(added[name])));
}
