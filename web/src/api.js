// Talking to the server. Errors are ApiError with the sentence the server gave for the user.
import { ref } from 'vue';
import { language } from './i18n.js';

export const needsToken = ref(false);

export class ApiError extends Error {
    constructor(status, code, sentence) {
        super(sentence);
        this.status = status;
        this.code = code;
    }
}

export async function api(method, address, body) {
    const headers = { 'Accept-Language': language() };
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    let response;
    try {
        response = await fetch(`/api/v1${address}`, {
            method,
            headers,
            body: body === undefined ? undefined : JSON.stringify(body),
        });
    } catch {
        throw new ApiError(0, 'connection', '');
    }
    const text = await response.text();
    if (response.ok) return text ? JSON.parse(text) : null;
    let problem = {};
    try {
        problem = JSON.parse(text);
    } catch {
        // not from koubo itself; the status must do
    }
    if (response.status === 401 && address !== '/session') needsToken.value = true;
    throw new ApiError(response.status, problem.code, problem.detail ?? `HTTP ${response.status}`);
}

export const get = (address) => api('GET', address);
export const post = (address, body) => api('POST', address, body ?? {});
export const del = (address) => api('DELETE', address);

export function query(parameters) {
    const chosen = Object.entries(parameters).filter(([, v]) => v !== undefined && v !== null && v !== '');
    return chosen.length ? `?${new URLSearchParams(chosen)}` : '';
}
