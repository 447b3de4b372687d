// What the API sends (docs/openapi.yaml), as far as the page uses it. Times are ms since 1970.
export type Warning = 'no_face' | 'several_faces' | 'small_face' | 'green_screen' | 'very_long' | 'low_resolution' | 'silent' | 'short' | 'quiet' | 'gaps' | 'bad_cues';

// Of a picture, 0..1 from the left and the top; and the second of the film that has this picture.
export type Point = [x: number, y: number] | [x: number, y: number, at: number];

export interface Asset {
    id: string;
    name: string;
    kind: 'audio' | 'video' | 'text' | ''; // text: subtitles
    state: 'uploading' | 'fetching' | 'making' | 'new' | 'ready' | 'bad';
    size: number; // -1 = not known yet
    received: number;
    duration: number | null;
    width: number | null;
    height: number | null;
    fps: number | null;
    codec?: string | null;
    faces: number | null;
    face_boxes?: [number, number, number, number][]; // x, y, width, height, 0..1 of the thumbnail
    face_boxes_at?: number | null; // the second of the film that the thumbnail shows
    warnings: Warning[];
    peaks: number[] | null; // 0..255
    thumbnail: string | null;
    content: string | null;
    subtitles?: string | null; // where they can be looked at
    error: string | null;
    progress: number | null; // 0..1 while it is looked at
    created: number;
}

export interface Person {
    id: string;
    name: string;
    video: Asset;
    options: Options;
    face_at: Point | null;
    bytes: number; // of all its files
    created: number;
}

export interface Preview {
    id: string;
    state: 'waiting' | 'running' | 'done' | 'failed';
    stage: string | null;
    progress: number;
    seconds: number | null;
    begins: number | null; // the second of the whole result
    width: number | null;
    height: number | null;
    video: string | null;
    error: { code: 'cancelled' | 'failed'; text: string } | null;
}

export type OptionValue = string | number | boolean | number[];
export type Options = Record<string, OptionValue>;
export type OwnOptions = Record<string, OptionValue | null>; // laid over others; null: the default again

export interface Counts {
    queued: number;
    running: number;
    done: number;
    failed: number;
    cancelled: number;
    skipped: number;
    total: number;
    results?: number; // of those that are done, how many are not deleted
}

export type BatchState = 'active' | 'paused' | 'ended';
export interface Batch {
    id: number;
    name: string;
    state: BatchState;
    priority: number;
    turn: number;
    audio: { id: string; name: string; duration: number | null };
    speeches?: number; // how many different ones; audio is the first
    options: Options;
    created: number;
    ended: number | null;
    counts: Counts;
    progress: number; // of what is done or can still be
    outcome: 'done' | 'partly' | 'failed' | 'cancelled' | null; // null before the end
    place: number | null; // in line, from 1; null when it is paused, over or being worked on
    eta: number | null; // seconds until all of it is done, with what stands before it
}

export type RunningState = 'loading' | 'audio' | 'preprocessing' | 'generating' | 'finishing';
export type JobState = 'queued' | RunningState | 'done' | 'failed' | 'cancelled' | 'skipped';
export interface Job {
    id: number;
    batch: number;
    batch_name: string;
    name: string;
    video: string;
    audio_name: string; // its speech
    options: OwnOptions | null; // its own, laid over those of its batch
    state: JobState;
    position: number;
    attempts: number;
    retried: number; // how often somebody had it tried again
    done: number; // frames, only while a face is looked for and frames are made
    total: number;
    progress: number;
    fps: number | null;
    eta: number | null; // seconds
    worker: string | null; // who has it: a program of this machine, or a machine; '' while it is offered to machines
    heartbeat: number | null;
    progressed: number | null;
    state_since: number;
    started: number | null;
    ended: number | null;
    error: { code: string; text: string } | null;
    waiting: 'worker' | 'paused' | 'disk' | 'speech' | 'download' | 'retry' | null;
    cancelling: boolean;
    face_at?: Point | null; // as it was given with the video
    result: Result | null;
}

export interface Result {
    job: number;
    batch: number;
    batch_name: string;
    name: string;
    size: number;
    duration: number;
    width: number;
    height: number;
    created: number;
    video: string;
    download: string;
    thumbnail: string | null;
    subtitles?: string | null;
    subtitles_burned?: boolean; // they are in the picture
    source: { video: string | null; audio: string | null }; // assets, as long as they are there
}

export interface List<T> {
    total: number;
    rev: number;
    items: T[];
}

export interface Change {
    rev: number;
    now: number;
    batches: Batch[];
    jobs: Job[];
    assets: Asset[];
    gone: { kind: 'batch' | 'job' | 'asset'; id: number | string }[];
    reset?: boolean;
}

export interface Worker {
    id: string;
    kind: 'generate' | 'inspect';
    state: 'starting' | 'idle' | 'busy' | 'stopped';
    job: number | null;
    heartbeat: number | null;
    restarts: number;
    model: string | null;
    precision: string | null;
    rss: number;
}

// The worker that makes previews, and what it is at.
export interface Previews {
    worker: { state: 'starting' | 'idle' | 'busy'; rss: number } | null; // null: it comes when somebody asks
    waiting: number;
    making: { video: string; audio: string; client: string; picture: boolean; progress: number } | null;
}

// Another machine that makes videos for this one (docs/cluster.md).
export type NodeState = 'new' | 'active' | 'draining' | 'refused' | 'silent';
export interface Node {
    name: string;
    title: string;
    state: NodeState;
    draining: boolean; // somebody here wants it to
    slots: number;
    jobs: number[];
    heard: number | null;
    created: number;
    error: string | null;
    facts: { // as it told last; null: nothing yet
        version?: string;
        workers?: number;
        cores?: number;
        cpu?: string;
        load?: number;
        memory?: { total: number; available: number };
        disk?: { total: number; free: number };
        gpus?: string[];
        clock?: number;
    } | null;
}

// How a new machine shows who it is: only said once.
export interface NodeSecret {
    node: Node;
    secret: string;
    commands: string[];
    warnings: string[]; // what has to be done besides
}

export interface Cluster {
    redis: { place: string; connected: boolean; since: number; version: string; error: string | null };
    depot: { place: string | null; kind: 'http' | 's3'; error: string | null };
    offers: number;
    arriving: number;
}

export interface Heartbeat {
    now: number;
    cpu: { load: number[] };
    memory: { total: number; available: number };
    disk: { total: number; free: number; min_free: number };
    workers: Worker[];
    previews: Previews | null; // null: this server makes none
    counts: { queued: number; running: number };
    cluster: Cluster | null; // null: one machine is all there is
    nodes: Node[];
}

export interface Model {
    name: string;
    kind: 'listener' | 'wav2lip';
    size: number;
    default: boolean;
}

export interface System extends Omit<Heartbeat, 'cpu' | 'counts'> {
    version: string;
    started: number;
    cpu: { cores: number; load: number[]; model: string };
    gpu: string[];
    models: Model[];
    stats: { jobs: Partial<Record<JobState, number>> };
    results_folder: string | null;
    defaults: Options;
    lost: { results: number; others: number; bytes: number };
}

export type Level = 'ok' | 'warning' | 'problem';
export interface Doctor {
    verdict: { level: Level; text: string };
    checks: { name: string; title: string; level: Level; text: string; advice: string | null }[];
}

export interface LogLine {
    time: number;
    level: string;
    source: string;
    job: number | null;
    text: string;
}

// Who speaks a text.
export interface Voice {
    name: string;
    title: string;
    kind: string; // espeak-ng: always there
    words: boolean;
    languages: string[];
}
// One that was added, with what is known of it (docs/voices.md).
export interface AddedVoice {
    name: string;
    kind: string;
    title?: string;
    url?: string;
    key?: string;
    voice?: string;
    changeable: boolean;
    [field: string]: unknown;
}
