// People (我的人物): films with their settings under a name, as the server has them. docs/people.md.
import { shallowReactive } from 'vue';
import { del, get, patch, post } from './api';
import type { Options, OwnOptions, Person, Point } from './types';

export const people = shallowReactive(new Map<string, Person>());

export async function loadPeople() {
    const { people: all } = await get<{ people: Person[] }>('/people');
    people.clear();
    for (const person of all) people.set(person.id, person);
}

// What belongs to one run, or to the law, and not to a person.
const NOT_HIS = /^(start|duration|subtitles|subtitles_text|ai_label.*|ai_producer)$/;

export async function savePerson(name: string, video: string, options: Options, face: Point | undefined) {
    const his = Object.fromEntries(Object.entries(options).filter(([option]) => !NOT_HIS.test(option)));
    await post('/people', { name, video, options: his, ...(face ? { face_at: face } : {}) });
    await loadPeople();
}

// The file is an upload; it goes when the person is there.
export async function importPerson(file: string): Promise<Person> {
    const { person, error } = await post<{ person?: Person; error?: string }>('/people', { file });
    if (!person) throw new Error(error);
    await loadPeople();
    return person;
}

export async function renamePerson(id: string, name: string) {
    await patch(`/people/${id}`, { name });
    await loadPeople();
}

export async function removePerson(id: string) {
    await del(`/people/${id}`);
    await loadPeople();
}

// Options that exclude each other (src/queue/person.c).
const EXCLUDES: Record<string, string> = { alpha: 'background', background: 'alpha', crf: 'bitrate', bitrate: 'crf' };

// Those of a person's options that the others neither say nor exclude.
export function ownOptions(id: string | undefined, said: OwnOptions): Options {
    const isExcluded = (option: string) => (said[EXCLUDES[option]] ?? 'none') !== 'none';
    return Object.fromEntries(Object.entries((id && people.get(id)?.options) || {}).filter(([option]) => !(option in said) && !isExcluded(option)));
}
