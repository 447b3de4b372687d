// A database with a long history, for measuring: batches of up to 1,000 jobs that are done (with results whose
// files are not there) or queued, and their speeches and videos. Needs the program sqlite3.
//
//   node bench/history.mjs DATA [done=100000] [queued=0] [each=100]
//
// DATA: a data folder that koubo serve has made, and that no server uses now.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const VIDEOS = 2000;

// state: 'done' or 'queued'; those that wait belong to batches that are paused.
const jobs = (state, n, each) => `
    INSERT INTO batch(name, audio, audio_name, options, priority, turn, paused, client, lang, created_ms, ended_ms, folder)
    SELECT '课程 ' || i, printf('%032x', i % 200 + 1), '第' || i || '课.wav', '{}', 5,
        (SELECT coalesce(max(turn), 0) FROM batch) + i, ${state === 'queued'}, '127.0.0.1', 'zh', t.now - (${n / each} - i) * 60000,
        ${state === 'done' ? `t.now - (${n / each} - i) * 60000 + 30000` : 'NULL'}, 'b' || i
    FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${Math.ceil(n / each)}) SELECT i FROM n), t;
    CREATE TEMP TABLE new AS SELECT id, row_number() OVER (ORDER BY id) - 1 AS nr, created_ms FROM batch
        WHERE id > (SELECT coalesce(max(batch), 0) FROM job);
    INSERT INTO job(batch, video, name, result_name, position, state, waiting, attempts, state_since_ms, created_ms,
        ${state === 'done' ? `started_ms, ended_ms, stage_s, progress, worker, output,
        result, result_size, result_ms, result_width, result_height, result_frames, result_animated` : 'progress'})
    SELECT b.id, printf('%032x', 1000 + (b.nr * ${each} + i) % ${VIDEOS}), '老师 ' || i || '.mp4', '老师_' || b.nr || '_' || i || '.mp4', i,
        '${state}', ${state === 'done' ? 'NULL, 1' : "'paused', 0"}, b.created_ms, b.created_ms,
        ${state === 'done' ? `b.created_ms + i * 10, b.created_ms + i * 10 + 5000,
        '{"loading":0.1,"audio":0.2,"preprocessing":1.5,"generating":3.0,"finishing":0.2}', 1, 'w1', 'b' || b.id || '/' || i,
        'b' || b.id || '/' || i || '.mp4', 1000000 + i, 10000 + i, 1280, 720, 250, 240` : '0'}
    FROM new b, (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${each}) SELECT i FROM n);
    DROP TABLE new;`;

export function fill(data, { done = 100000, queued = 0, each = 100 } = {}) {
    const sql = `
    PRAGMA synchronous = OFF;
    BEGIN IMMEDIATE;
    CREATE TEMP TABLE t AS SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) AS now;
    INSERT OR IGNORE INTO asset(id, state, kind, name, size, received, sha256, duration_ms, width, height, fps, codec, faces, created_ms)
        SELECT printf('%032x', i), 'ready', iif(i <= 200, 'audio', 'video'), iif(i <= 200, '第' || i || '课.wav', '老师 ' || i || '.mp4'),
            1000, 1000, printf('%064x', i), 10000, iif(i <= 200, NULL, 1280), iif(i <= 200, NULL, 720), iif(i <= 200, NULL, 25),
            'h264', iif(i <= 200, NULL, 1), t.now - i
        FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${1000 + VIDEOS}) SELECT i FROM n), t
        WHERE i <= 200 OR i >= 1000;
    ${done ? jobs('done', done, each) : ''}
    ${queued ? jobs('queued', queued, each) : ''}
    UPDATE tally SET done = done + ${done}, seconds = seconds + ${done * 10};
    COMMIT;`;
    const run = spawnSync('sqlite3', ['-bail', path.join(data, 'koubo.db')], { input: sql, encoding: 'utf8' });
    if (run.error || run.status !== 0) throw new Error(`sqlite3: ${run.error ?? run.stderr}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
    const [data, ...rest] = process.argv.slice(2);
    fill(data, Object.fromEntries(rest.map((r) => r.split('=')).map(([k, v]) => [k, Number(v)])));
}
