// Debian's Chromium through playwright-core, and pages that note what must not happen: requests to
// other hosts, errors on the console.
import { createRequire } from 'node:module';
import path from 'node:path';
import { root } from '../e2e/server.mjs';

const { chromium } = createRequire(path.resolve(root, 'web/package.json'))('playwright-core');

export const tabs = ['batch', 'single', 'queue', 'results', 'log', 'system'];

export const holds = (value, what) => {
    if (!value) throw new Error(what);
};

let browser = null;

// Playwright gives it a fresh profile.
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

// A page of its own context (nothing remembered), open on the server. faults() throws what went
// wrong behind the page's back; quiet = true allows failed requests (a server that is killed).
export async function open_page(url, options = {}) {
    const context = await (await open_browser()).newContext({
        viewport: { width: 1280, height: 900 },
        locale: 'zh-CN',
        acceptDownloads: true,
        ...options,
    });
    const page = await context.newPage();
    const faults = [];
    page.quiet = false;
    page.on('request', (request) => {
        const to = new URL(request.url());
        if (!['data:', 'blob:'].includes(to.protocol) && to.host !== new URL(url).host)
            faults.push(`request to ${request.url()}`);
    });
    // A server that is busy for a moment says when to ask again (docs/openapi.yaml), and is asked again.
    page.on('response', (response) => {
        if (response.status() === 503 && !response.headers()['retry-after'] && !page.quiet) faults.push(`503: ${response.url()}`);
    });
    page.on('console', (message) => {
        if (message.type() === 'error' && !page.quiet && !/status of 503/.test(message.text()))
            faults.push(`console: ${message.text()} ${message.location().url}`);
    });
    page.on('pageerror', (error) => faults.push(`error: ${error.stack ?? error.message}`));
    page.faults = () => holds(faults.length === 0, faults.join('\n'));
    await page.goto(url);
    await page.getByTestId('start').waitFor();
    return page;
}

// Opens a view and waits until it shows what it loads.
export async function open_tab(page, name) {
    await page.getByTestId(`tab-${name}`).click();
    await page.getByTestId(`tab-${name}`).and(page.locator('[aria-current]')).waitFor();
    await page.locator('main .card').first().waitFor();
    if (name === 'system') await page.locator('.verdict').waitFor();
    await page.waitForLoadState('load');
    await page.waitForTimeout(400);
}

export async function choose(page, audio, videos) {
    await page.getByTestId('audio-input').setInputFiles(audio);
    await page.getByTestId('video-input').setInputFiles(videos);
    await page.locator('[data-testid=start]:enabled').waitFor();
}
