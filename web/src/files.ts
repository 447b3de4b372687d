// What files are for, and the files of a drop with those in its folders.
import { t } from './i18n';

export const MOST_VIDEOS = 1000; // in a batch

const AUDIO = /\.(wav|mp3|m4a|aac|flac|og[ga]|opus|wma|aif[fc]?|amr|ac3|mka|caf)$/i;
const VIDEO = /\.(mp4|avi|mov|mkv|webm|flv|wmv|m4v|3gp|3g2|mpe?g|m?ts|vob|ogv|jpe?g|png|webp|bmp|gif|hei[cf]|avif|tiff?)$/i;

// By the name, else by the browser's word; null: of no use here. A name without an extension may be
// anything; the server looks at it.
export function useOf({ name, type = '' }: { name: string; type?: string }): 'audio' | 'video' | null {
    if (AUDIO.test(name)) return 'audio';
    if (VIDEO.test(name)) return 'video';
    if (type.startsWith('audio/')) return 'audio';
    if (/^(video|image)\//.test(type)) return 'video';
    return type || /\.[^.\s]{1,5}$/.test(name) ? null : 'video';
}

async function filesBelow(entry: FileSystemEntry): Promise<File[]> {
    if (entry.isFile) return [await new Promise<File>((ok, no) => (entry as FileSystemFileEntry).file(ok, no))];
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    const found: File[] = [];
    for (;;) { // a reader gives at most 100 at a time
        const some = await new Promise<FileSystemEntry[]>((ok, no) => reader.readEntries(ok, no));
        if (!some.length) return found;
        for (const child of some) found.push(...await filesBelow(child));
    }
}

// Of a folder only what can be used: nobody chose the rest.
export async function filesOf(drop: DataTransfer): Promise<File[]> {
    const plain = [...drop.files]; // both lists are empty after the first await
    const entries = [...drop.items].map((item) => item.webkitGetAsEntry?.()).filter((e) => !!e);
    if (!entries.some((e) => e.isDirectory)) return plain;
    const found: File[] = [];
    for (const entry of entries) {
        const below = await filesBelow(entry).catch(() => []);
        found.push(...(entry.isDirectory ? below.filter((f) => useOf(f)) : below));
    }
    return found;
}

// Why none of these is taken.
export const refusal = (files: File[]) => t(files.length > 1 ? 'drop.refusedMany' : 'drop.refused', { name: files[0].name, n: files.length });
