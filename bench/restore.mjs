// What koubo restore brings back of a large damaged database: node bench/restore.mjs [build/koubo].
// Needs the sqlite3 program. 1,000 batches, 20,000 uploads, 100,000 videos (110 MB); one line for each
// damage: seconds, rows that came back, what integrity_check says of the new database.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, openSync, writeSync, closeSync, statSync, truncateSync, rmSync } from 'node:fs';
import path from 'node:path';

process.env.KOUBO_PROGRAM ??= process.argv[2] ?? 'build/koubo';
const { program, Server, temporary_folder } = await import('../tests/e2e/server.mjs');

const PAGE = 4096;
const rows = (n) => `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${n})`;
const film = "'a film with a name_speech_2026-11-27-' || i";
const fill = `BEGIN;
${rows(1000)} INSERT INTO batch(id, name, audio, audio_name, options, priority, turn, lang, created_ms)
    SELECT i, 'batch ' || i, 'aud' || i, 'speech.wav', '{"height":720,"crf":20}', 5, i, 'zh', 1700000000000 FROM n;
${rows(20000)} INSERT INTO asset(id, state, kind, name, size, sha256, created_ms, peaks)
    SELECT printf('%032x', i), 'ready', 'video', 'a film with a name ' || i || '.mp4', 12345, printf('%064x', i),
    1700000000000, '[' || replace(hex(zeroblob(400)), '00', '12,') || '0]' FROM n;
${rows(100000)} INSERT INTO job(batch, video, name, result_name, position, state, attempts, state_since_ms, created_ms,
    started_ms, ended_ms, stage_s, result, result_size, result_ms, output)
    SELECT i % 1000 + 1, printf('%032x', i % 20000), 'a film with a name ' || i || '.mp4', ${film} || '.mp4', i, 'done', 1,
    1700000000000, 1700000000000, 1700000000000, 1700000000000, '{"loading":0.1,"generating":12.2}',
    (i % 1000 + 1) || '_batch/' || ${film} || '.mp4', 1234567, 60000, (i % 1000 + 1) || '_batch/' || ${film} FROM n;
COMMIT; PRAGMA wal_checkpoint(TRUNCATE);`;

function sqlite(file, sql) {
    const done = spawnSync('sqlite3', [file], { input: sql, encoding: 'utf8' });
    if (done.status !== 0) throw new Error(`sqlite3: ${done.error ?? done.stderr}`);
    return done.stdout.trim();
}

// The same noise every time.
let seed = 1;
const chance = (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor(seed / 2 ** 32 * below);
};

function noise(share) {
    return (file) => {
        const pages = statSync(file).size / PAGE, fd = openSync(file, 'r+');
        for (let i = 0; i < pages; i++)
            if (chance(1000) < share * 1000) writeSync(fd, Buffer.from(Array.from({ length: PAGE }, () => chance(256))), 0, PAGE, i * PAGE);
        closeSync(fd);
    };
}
const damages = {
    none: () => {},
    'first page zeroed': (file) => {
        const fd = openSync(file, 'r+');
        writeSync(fd, Buffer.alloc(PAGE), 0, PAGE, 0);
        closeSync(fd);
    },
    'noise on 1 % of the pages': noise(0.01),
    'noise on 10 % of the pages': noise(0.1),
    'noise on half of the pages': noise(0.5),
    'cut in half': (file) => truncateSync(file, statSync(file).size / 2),
};

const folder = temporary_folder();
const server = await new Server(path.join(folder, 'data'), ['--workers', '1']).start();
await server.kill('SIGTERM');
const whole = path.join(server.data, 'koubo.db');
sqlite(whole, fill);
for (const [name, damage] of Object.entries(damages)) {
    const data = path.join(folder, 'damaged'), file = path.join(data, 'koubo.db');
    mkdirSync(data);
    copyFileSync(whole, file);
    damage(file);
    const begin = performance.now();
    const done = spawnSync(program, ['restore', '--salvage', '--lang', 'en', '--data', data], { encoding: 'utf8' });
    const seconds = (performance.now() - begin) / 1e3;
    if (done.status !== 0) throw new Error(done.stderr);
    const back = Object.fromEntries([...done.stdout.matchAll(/(\w+): (\d+) came back/g)].map((m) => [m[1], m[2]]));
    console.log(`${name}: ${seconds.toFixed(1)} s, ${back.batches} batches, ${back.uploads} uploads, ${back.videos} videos,`,
        sqlite(file, 'PRAGMA integrity_check'));
    rmSync(data, { recursive: true });
}
process.exit();
