// Talking to the server. Errors are ApiError with the sentence the server gave for the user.
import { ref } from 'vue';
import { language } from './i18n';

export const needsToken = ref(false);

export class ApiError extends Error {
    // status 0: the server was not reached
    constructor(readonly status: number, readonly code: string, sentence: string) {
        super(sentence);
    }
}

// The server is busy for a moment and has done nothing: it says when to ask again. For so long nobody is told.
const BUSY = 503;
const PATIENT_MS = 20000;
const MOST_MS = 5000; // between two tries, whatever it says

export async function api<T>(method: string, address: string, body?: unknown): Promise<T> {
    const headers: Record<string, string> = { 'Accept-Language': language() };
    const isForm = body instanceof FormData; // of which the browser tells the type
    if (body !== undefined && !isForm) headers['Content-Type'] = 'application/json';
    const end = Date.now() + PATIENT_MS;
    let response: Response;
    let text: string;
    for (;;) {
        try {
            response = await fetch(`/api/v1${address}`, {
                method,
                headers,
                body: body === undefined || isForm ? body : JSON.stringify(body),
            });
            text = await response.text();
        } catch {
            throw new ApiError(0, 'connection', '');
        }
        const pause = Number(response.headers.get('Retry-After') ?? NaN) * 1000;
        if (response.status !== BUSY || !(pause >= 0) || Date.now() + pause > end) break;
        await new Promise((ok) => { setTimeout(ok, Math.min(pause, MOST_MS)); });
    }
    if (response.ok) return (text ? JSON.parse(text) : null) as T;
    let problem: { code?: string; detail?: string } = {};
    try {
        problem = JSON.parse(text);
    } catch {
        // not from koubo itself; the status must do
    }
    if (response.status === 401 && address !== '/session') needsToken.value = true;
    throw new ApiError(response.status, problem.code ?? '', problem.detail ?? `HTTP ${response.status}`);
}

export const get = <T>(address: string) => api<T>('GET', address);
export const post = <T = unknown>(address: string, body: unknown = {}) => api<T>('POST', address, body);
export const patch = <T = unknown>(address: string, body: unknown) => api<T>('PATCH', address, body);
export const del = (address: string) => api<null>('DELETE', address);

export function query(parameters: Record<string, string | number | undefined>): string {
    const chosen = Object.entries(parameters).filter(([, v]) => v !== undefined && v !== '');
    return chosen.length ? `?${new URLSearchParams(chosen.map(([k, v]) => [k, String(v)]))}` : '';
}
