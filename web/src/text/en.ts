import type { Texts } from './zh';

const en: Texts = {
    title: 'koubo',
    language: '中文',
    switchLanguage: 'Switch to Chinese',
    menu: 'Main menu',
    tabs: { batch: 'Batch', single: 'Single', queue: 'Queue', results: 'Results', log: 'Log', system: 'System' },
    connection: { on: 'Connected', off: 'Connection lost, trying again…', loading: 'Connecting…', lost: 'Offline' },
    error: { connection: 'The server cannot be reached; is koubo running?' },
    common: {
        cancel: 'Cancel', delete: 'Delete', close: 'Close', save: 'Save', retry: 'Retry', copy: 'Copy', copied: 'Copied', all: 'All', more: '{n} more',
        hide: 'Show less', download: 'Download', play: 'Play', loading: 'Loading…',
    },
    login: { title: 'Token needed', hint: 'It is printed where koubo was started; or ask who runs it.', submit: 'Enter', wrong: 'That is not the token, try again' },
    audio: {
        title: 'Speech', upload: 'Upload an audio file', hint: 'wav mp3 m4a aac flac ogg, or a video with sound',
        source: 'Where the speech comes from', file: 'Audio file', speech: 'Text to speech', text: 'What is to be said', voice: 'Voice',
        make: 'Make the speech', making: 'Making the speech…', replace: 'Change', looking: 'Checking…',
    },
    video: {
        title: 'Videos', titleOne: 'Video', upload: 'Drop videos here or click to choose', hint: 'mp4 avi mov mkv webm flv, or photos; as many as you like',
        hintOne: 'mp4 avi mov mkv webm flv, or a photo',
        folder: 'Choose a whole folder', removeSelected: 'Remove selected', clear: 'Clear list', previewHint: 'Click a name to preview it here',
        selectAll: 'Select all', count: '{n} videos', one: 'Drop a video here or click to choose', stalled: 'No connection; goes on by itself when it is back',
        waiting: 'Waiting to upload', looking: 'Checking…', empty: 'The file is empty', cannotPlay: 'The browser cannot play this kind of file; koubo can use it',
        missing: 'Was not uploaded to its end. Choose the file again and it goes on', choose: 'Choose file', tooMany: 'At most 1000 videos at once',
        noVideos: 'There are no videos in this folder', remove: 'Remove {name}',
    },
    warning: {
        no_face: 'No face found', several_faces: 'Several faces', small_face: 'Small face', very_long: 'Very long', low_resolution: 'Low resolution',
        silent: 'Silent', short: 'Very short',
        help: {
            no_face: 'Frames without a face stay as they are', several_faces: 'The largest face speaks; see the options for another',
            small_face: 'Small faces turn out less well; use a closer view if you can', very_long: 'This takes a while; a short piece makes a quicker first try',
            low_resolution: '720p or more is better', silent: 'No sound was heard; listen to it first', short: 'Is it complete?',
        },
    },
    options: {
        title: 'Options', hint: 'The defaults suit most videos', changed: '{n} changed', reset: 'Restore defaults', default: 'default',
        batchName: 'Name of the batch', namePlaceholder: 'Else the name of the speech', priority: 'Priority', priorities: { 8: 'High', 5: 'Normal', 2: 'Low' },
        groups: { who: 'Person', time: 'Time', picture: 'Picture and sound', mouth: 'Mouth', compute: 'Computing' },
        model: 'Model', face: 'Who speaks', loop: 'If the speech is longer', keep_video: 'Keep the rest of a longer video', start: 'Start at second',
        duration: 'At most seconds', height: 'Output height', crf: 'Quality', preset: 'Encoder speed', bitrate: 'Bitrate of the source', denoise: 'Remove noise',
        loudnorm: 'Even loudness', sharpen: 'Sharpen the mouth', mask_feather: 'Soft rim of the mask', mask_dilate: 'Grow the mask',
        nosmooth: 'Do not smooth the face’s place', pads: 'Face margins (top, bottom, left, right)', precision: 'Precision',
        faces: { largest: 'the largest face', left: 'leftmost', right: 'rightmost', center: 'in the middle' }, faceNumber: 'number {n} in size',
        loops: { pingpong: 'play back and forth', restart: 'play again', freeze: 'hold the last frame', none: 'end with the video' }, original: 'as the source',
        help: {
            model: 'The bundled one needs no choice', face: 'Useful with several people', loop: 'Back and forth shows no seam',
            keep_video: 'Else the video ends with the speech', start: 'Empty: from the beginning', duration: 'Empty: all; 10 s make a quick try',
            height: 'Scales down, never up', crf: '0 is best, 51 worst; at 18 no loss is seen', preset: 'Slower makes smaller files',
            bitrate: 'The quality above does not count then', denoise: 'For grainy pictures', loudnorm: 'For speech of uneven volume (-16 LUFS)',
            sharpen: 'If the mouth is blurred, try 0.5 to 1', mask_feather: 'More, if you see an edge around the mouth', mask_dilate: 'More, if the chin is not covered',
            nosmooth: 'For faces that move fast', pads: 'Pixels; Wav2Lip models only', precision: 'auto: the fastest that the processor has',
        },
    },
    start: {
        title: 'Generate', batch: 'Start batch', single: 'Generate', noAudio: 'Add the speech first', noVideo: 'Add videos first', uploading: 'Ready when all is uploaded',
        missing: 'An upload is unfinished: choose its file again, or remove it', badAudio: 'This speech cannot be used; choose another',
        started: 'Started with {n} videos', ready: 'Ready', result: 'Result', noResult: 'The finished video will be here',
    },
    progress: {
        title: 'Progress', none: 'Nothing to do at the moment', ended: '{done} / {total}', endedLong: '{done} of {total} finished', now: 'Working on {name}',
        eta: '{time} left', beat: 'heard {n} s ago', frames: 'frame {done} / {total}', fps: '{n} fps', done: '{n} done', failed: '{n} failed', cancelled: '{n} cancelled',
        attempt: 'attempt {n}', pause: 'Pause', resume: 'Resume', cancelBatch: 'Cancel batch', retryFailed: 'Retry failed', cancelling: 'Cancelling…',
        still: '{doing}; nothing new for {n} s', took: 'took {time}', cancelSure: 'Cancel what is not finished of “{name}”?', jobs: 'Jobs of {name}',
    },
    state: {
        queued: 'Queued', loading: 'Loading model', preprocessing: 'Preparing', generating: 'Generating', finishing: 'Writing', done: 'Done', failed: 'Failed',
        cancelled: 'Cancelled', active: 'Active', paused: 'Paused', ended: 'Ended',
    },
    waiting: {
        worker: 'Waiting for a free worker', paused: 'The batch is paused', disk: 'Not enough disk space; goes on when there is', speech: 'Waiting for the speech',
        download: 'Waiting for the download', retry: 'Tries again by itself',
    },
    doing: { loading: 'Loading the model', preprocessing: 'Looking for the face', generating: 'Making the frames', finishing: 'Writing the file' },
    queue: {
        title: 'Queue', empty: 'The queue is empty', up: 'Move up {name}', down: 'Move down {name}', drag: 'Drag to change the order',
        deleteSure: 'Delete “{name}” and all its results?', open: 'Open {name}', filter: 'State', created: 'created {time}', search: 'Search by name',
        deleteJobSure: 'Delete “{name}” and its result?',
    },
    results: {
        empty: 'No results yet', emptyHint: 'Finished videos will be here', search: 'Search by name', selected: '{n} selected', deleteMany: 'Delete selected',
        zip: 'Download all as zip', zipSelected: 'Download {n} as zip', deleteSure: 'Delete “{name}”?', deleteManySure: 'Delete the {n} selected results?',
        total: '{n} results', selectPage: 'Select this page', clearSelection: 'Clear selection', deleted: '{n} deleted', select: 'Select {name}',
        notFound: 'Nothing matches',
    },
    log: {
        follow: 'Follow', level: 'Level', levels: { error: 'Errors', warn: 'Warnings', info: 'Info', verbose: 'Verbose' }, search: 'Search the log', empty: 'Nothing matches',
    },
    system: {
        doctor: 'Diagnosis', again: 'Check again', checking: 'Checking…', workers: 'Workers', machine: 'Machine', disk: 'Disk', memory: 'Memory', cpu: 'Processor',
        load: 'load {n}', cores: '{n} cores', free: '{free} free of {total}', minFree: 'new jobs wait below {size}', models: 'Models', isDefault: 'default',
        none: 'none; the processor works', gpu: 'GPU',
        worker: { id: 'Id', kind: 'For', state: 'State', job: 'Job', model: 'Model', memory: 'Memory', heartbeat: 'Heartbeat', restarts: 'Restarts' },
        kinds: { generate: 'generating', inspect: 'checking files' }, states: { starting: 'starting', idle: 'idle', busy: 'busy', stopped: 'stopped' },
        levels: { ok: 'Fine', warning: 'Note', problem: 'Problem' }, seconds: '{n} s ago', server: 'Server',
        version: 'version {v}', up: 'up {time}', counts: '{done} done, {failed} failed',
        lost: 'Files of an earlier database', lostCounts: '{results} results, {others} others, {size}', lostWhat: 'They stay in the data folder until you decide. Run on the server:',
        lostRestore: 'takes the results in', lostClean: 'removes all of them',
    },
    notify: {
        title: 'Notifications', hint: 'Tells you when a batch ends or a job fails.', events: 'When', batch_ended: 'A batch ends', job_failed: 'A job fails',
        webhook: 'Webhook', email: 'E-mail', wecom: 'WeChat Work', dingtalk: 'DingTalk', feishu: 'Feishu', url: 'Address', secret: 'Secret (optional)',
        smtp: 'SMTP server', user: 'User', password: 'Password', from: 'From', to: 'To (separated by commas)', test: 'Send a test', saved: 'Saved', on: 'filled in',
        sent: '{target}: sent', notSent: '{target}: {error}', nothing: 'No way of notifying is filled in yet',
        tls: 'Encrypted (TLS)', passwordAgain: 'The server, port, user or TLS has changed: give the password again',
        secretAgain: 'The address has changed: give the secret again, or leave it empty for none',
    },
};

export default en;
