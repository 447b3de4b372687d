// Files that the cells of a list name (a logo, music, an intro…), where the options of the API have ids: one that is chosen
// here, else the newest of all uploaded ones of that very name. On the command line they are paths (docs/cli.md).
import { reactive } from 'vue';
import { get, query } from './api';
import { assets } from './live';
import type { Asset, List, OptionValue, OwnOptions } from './types';
import type { Entry } from './uploads';

const PART = 1000; // of the files at once

// What each takes (src/queue/material.c), and what may be said instead of a file.
const OPTIONS: Record<string, { kinds: string[]; words?: RegExp }> = {
    mouth_from: { kinds: ['video'] },
    style_from: { kinds: ['video'], words: /^(self|no)$/ },
    background: { kinds: ['video'], words: /^(none|blur|#?[0-9a-f]{6})$/i },
    subtitles: { kinds: ['text'], words: /^(off|text)$/ },
    logo: { kinds: ['video'] },
    intro: { kinds: ['video'] },
    outro: { kinds: ['video'] },
    music: { kinds: ['audio', 'video'] },
};
const ID = /^[0-9a-f]{32}$/;
const found = reactive(new Map<string, string | null>()); // ids by option and name; null: there is none

export interface Named {
    option: string;
    name: string; // as the list has it
    entry?: Entry; // if it is chosen here
    id: string | null; // null: not known (yet)
    fault?: 'gone' | 'several';
}

const bare = (name: string) => name.replace(/^.*[\\/]/, '');
const keyOf = (option: string, name: string) => `${option} ${bare(name)}`;
// Not known to be something else, or damaged.
const fits = (a: Asset | undefined, option: string) => !a || (a.state !== 'bad' && (a.kind === '' || OPTIONS[option].kinds.includes(a.kind)));
const isFile = (option: string, value: OptionValue | null): value is string =>
    option in OPTIONS && typeof value === 'string' && value !== '' && !ID.test(value) && !OPTIONS[option].words?.test(value);

// Those that the options of a line name.
export function filesNamed(options: OwnOptions, chosen: Entry[]): Named[] {
    return Object.entries(options).flatMap(([option, name]): Named[] => {
        if (!isFile(option, name)) return [];
        const here = chosen.filter((e) => !e.error && e.name === bare(name) && fits(assets.get(e.id ?? ''), option));
        if (here.length > 1 && new Set(here.map((e) => e.id ?? e.key)).size > 1) return [{ option, name, entry: here[0], id: null, fault: 'several' }];
        if (here.length) return [{ option, name, entry: here[0], id: here[0].id }];
        const id = found.get(keyOf(option, name));
        return [{ option, name, id: id ?? null, fault: id === null ? 'gone' : undefined }];
    });
}

// The options with ids in the place of names.
export function withFiles(options: OwnOptions, chosen: Entry[]): OwnOptions {
    return { ...options, ...Object.fromEntries(filesNamed(options, chosen).filter((f) => f.id).map((f) => [f.option, f.id])) };
}

async function newest(option: string, name: string): Promise<string | null> {
    for (let offset = 0; ; offset += PART) {
        const { items } = await get<List<Asset>>(`/assets${query({ search: name, offset, limit: PART })}`);
        const asset = items.find((a) => a.name === name && ['new', 'ready'].includes(a.state) && fits(a, option));
        if (asset || items.length < PART) return asset?.id ?? null;
    }
}

// Asks the server for those that are not chosen here.
export async function findFiles(lines: { options: OwnOptions }[], chosen: Entry[]) {
    const wanted = new Map(lines.flatMap(({ options }) => filesNamed(options, chosen)).filter((f) => !f.entry).map((f) => [keyOf(f.option, f.name), f]));
    await Promise.all([...wanted].map(async ([key, { option, name }]) => found.set(key, await newest(option, bare(name)))));
}
