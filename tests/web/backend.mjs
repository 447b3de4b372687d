// The server a page test talks to: one that runs already (BASE_URL), the mock (MOCK=1), or a real
// `koubo serve` of its own. All three answer the same API, so the tests are the same.
import path from 'node:path';
import { Server, temporary_folder } from '../e2e/server.mjs';
import { Mock } from './mock_server.mjs';

async function list(url, address) {
    const mark = address.includes('?') ? '&' : '?';
    const response = await fetch(`${url}/api/v1${address}${mark}limit=1000`);
    if (!response.ok) throw new Error(`${address}: ${response.status} ${await response.text()}`);
    return (await response.json()).items;
}

// {url, list(address), kill(), start()}; kill and start are absent where the server is not ours.
export async function start_backend() {
    const of = (url, more = {}) => ({ url, list: (address) => list(url, address), ...more });
    if (process.env.BASE_URL) return of(process.env.BASE_URL.replace(/\/$/, ''));
    if (process.env.MOCK) {
        const mock = await new Mock().start();
        process.on('exit', () => mock.remove());
        return of(mock.url, { kill: () => mock.stop(), start: () => mock.start(mock.port), mock });
    }
    const server = await new Server(path.join(temporary_folder(), 'data'), ['--workers', '2']).start();
    // The same address after a restart, as it is for users.
    server.options.push('--port', new URL(server.url).port);
    return of(server.url, { kill: (signal = 'SIGKILL') => server.kill(signal), start: () => server.start() });
}
