// Debian's Chromium through playwright-core, and pages that note what must not happen: requests to
// other hosts, errors on the console.
import { createRequire } from 'node:module';
import path from 'node:path';
import { root } from '../e2e/server.mjs';

const { chromium } = createRequire(path.resolve(root, 'web/package.json'))('playwright-core');

export const holds = (value, what) => {
    if (!value) throw new Error(what);
};

let browser = null;

export async function open_browser() {
    browser ??= await chromium.launch({
        executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
        args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
            '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    });
    return browser;
}

export async function close_browser() {
    await browser?.close();
    browser = null;
}

// A page of its own context (nothing remembered), open on the server. faults() lists what went
// wrong behind the page's back; quiet = true allows failed requests (a server that is killed).
export async function open_page(server, options = {}) {
    const context = await (await open_browser()).newContext({
        viewport: { width: 1280, height: 900 },
        locale: 'zh-CN',
        acceptDownloads: true,
        ...options,
    });
    const page = await context.newPage();
    const faults = [];
    page.quiet = false;
    page.transferred = 0;
    page.on('request', (request) => {
        const url = new URL(request.url());
        if (!['data:', 'blob:'].includes(url.protocol) && url.host !== new URL(server.url).host)
            faults.push(`request to ${request.url()}`);
    });
    page.on('console', (message) => {
        if (message.type() === 'error' && !page.quiet) faults.push(`console: ${message.text()}`);
    });
    page.on('pageerror', (error) => faults.push(`error: ${error.stack ?? error.message}`));
    page.faults = () => holds(faults.length === 0, faults.join('\n'));
    await page.goto(server.url);
    await page.getByTestId('start').waitFor();
    return page;
}
