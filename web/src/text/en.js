export default {
    title: 'koubo',
    tagline: 'People in videos say what your audio says',
    language: '中文',
    tabs: { batch: 'Batch', single: 'Single', queue: 'Queue', results: 'Results', log: 'Log', system: 'System' },
    connection: { on: 'connected', off: 'Connection lost, trying again…', loading: 'connecting…' },
    error: { connection: 'The server cannot be reached; is koubo running?' },
    common: {
        cancel: 'Cancel', delete: 'Delete', close: 'Close', save: 'Save', retry: 'Retry', refresh: 'Refresh', copy: 'Copy', copied: 'Copied',
        search: 'Search', all: 'All', confirm: 'OK', more: 'More', show: 'Show', hide: 'Hide', download: 'Download', play: 'Play',
    },
    login: { title: 'Token needed', hint: 'It is printed where koubo was started; or ask who runs it', submit: 'Enter', wrong: 'That is not the token' },
    audio: {
        title: 'Speech', upload: 'Upload an audio file', hint: 'Drop or click: wav mp3 m4a aac flac ogg, or a video with sound',
        file: 'Audio file', speech: 'Text to speech', text: 'What is to be said', voice: 'Voice', make: 'Make the speech', making: 'Making the speech…',
        replace: 'Another', remove: 'Remove', looking: 'looking at it…', notAudio: 'This file has no sound',
    },
    video: {
        title: 'Videos', upload: 'Drop videos here or click to choose', hint: 'mp4 avi mov mkv webm flv, or photos; several at once', hintOne: 'mp4 avi mov mkv webm flv, or a photo',
        files: 'Choose files', folder: 'Choose a folder', removeSelected: 'Remove selected', clear: 'Clear list', preview: 'Preview',
        previewHint: 'Click a name to preview it', selectAll: 'Select all', count: '{n} videos', one: 'Choose a video',
        uploading: 'uploading {percent}%', stalled: 'waiting for the network…', looking: 'looking…', empty: 'The file is empty', cannotPlay: 'The browser cannot play this kind of file; koubo can use it',
        unfinished: 'Not finished last time: {names}. Choose the same file again to go on.', tooMany: 'At most 1000 videos at once',
    },
    warning: {
        no_face: 'no face found', several_faces: 'several faces', small_face: 'small face', very_long: 'very long',
        low_resolution: 'low resolution', silent: 'silent', short: 'very short',
    },
    options: {
        title: 'Options', hint: 'The defaults suit most videos', reset: 'Defaults', default: 'default',
        name: 'Name of the batch', namePlaceholder: 'the name of the audio', priority: 'Priority',
        priorities: { 2: 'low', 5: 'usual', 8: 'high' },
        model: 'Model', face: 'Who speaks', faces: { largest: 'largest face', left: 'leftmost', right: 'rightmost', center: 'most central' },
        loop: 'If the speech is longer', loops: { pingpong: 'play back and forth', restart: 'start again', freeze: 'hold the last frame', none: 'end with the video' },
        keep_video: 'Keep the rest of a longer video', start: 'Begin at second', duration: 'At most seconds', height: 'Height', original: 'as the video',
        crf: 'Quality (less is better)', preset: 'Encoder speed', bitrate: "The video's own bitrate", denoise: 'Remove noise', loudnorm: 'Level the loudness',
        sharpen: 'Sharpen the mouth', mask_feather: 'Soft rim', mask_dilate: 'Grow the mask', nosmooth: 'Do not smooth the face', pads: 'Face pads (top bottom left right)',
        precision: 'Precision', groups: { who: 'Person', time: 'Time', picture: 'Picture and sound', mouth: 'Mouth', compute: 'Computing' },
    },
    start: {
        batch: 'Start the batch', single: 'Start', noAudio: 'Upload a speech first', noVideo: 'Choose videos first', uploading: 'You can start when the files are uploaded',
        badAudio: 'Something is wrong with the audio, choose another', started: 'Started with {n} videos', result: 'Result',
    },
    progress: {
        title: 'Progress', none: 'Nothing to do now', ended: '{done} of {total} ended', now: 'Now: {name}', eta: '{time} left', beat: 'heard of {n} s ago',
        fps: '{n} fps', failed: '{n} failed', cancelled: '{n} cancelled', queued: '{n} queued', attempt: 'attempt {n}',
        pause: 'Pause', resume: 'Resume', cancelBatch: 'Cancel all', retryFailed: 'Retry failed', paused: 'paused', cancelling: 'cancelling…',
        still: '{stage}, no progress for {n} s', took: 'took {time}', cancelSure: 'Cancel what is not done yet of "{name}"?',
    },
    state: {
        queued: 'queued', loading: 'loading', preprocessing: 'finding faces', generating: 'generating', finishing: 'writing', done: 'done', failed: 'failed',
        cancelled: 'cancelled', active: 'active', paused: 'paused', ended: 'ended',
    },
    waiting: {
        worker: 'waiting for a free worker', paused: 'the batch is paused', disk: 'waiting for disk space', speech: 'waiting for the speech', download: 'waiting for the download',
        retry: 'will be tried again',
    },
    doing: {
        loading: 'loading the model', preprocessing: 'finding faces', generating: 'generating frames', finishing: 'writing the file',
    },
    queue: {
        title: 'Queue', empty: 'The queue is empty', up: 'Up', down: 'Down', first: 'To the front', deleteSure: 'Delete "{name}" with all its results?',
        jobs: 'Jobs', filter: 'State', created: 'made {time}', search: 'Search by name',
    },
    results: {
        empty: 'No results yet', search: 'Search by name', selected: '{n} selected', deleteMany: 'Delete selected', zip: 'Download all as zip', zipSelected: 'Download selected as zip',
        deleteSure: 'Delete "{name}"?', deleteManySure: 'Delete {n} results?', total: '{n} results', selectPage: 'Select this page', deleted: '{n} deleted',
        select: 'Select {name}',
    },
    log: { follow: 'Follow', level: 'Level', levels: { error: 'errors', warn: 'warnings', info: 'info', verbose: 'verbose' }, search: 'Search the log', empty: 'No such lines' },
    system: {
        doctor: 'Doctor', again: 'Check again', checking: 'Checking…', workers: 'Workers', machine: 'Machine', disk: 'Disk', memory: 'Memory', cpu: 'Processor',
        load: 'load', cores: '{n} cores', free: '{free} of {total} free', minFree: 'new jobs wait below {size}', models: 'Models', isDefault: 'default', none: 'none', gpu: 'GPU',
        worker: { id: 'Id', kind: 'Kind', state: 'State', job: 'Job', model: 'Model', memory: 'Memory', heartbeat: 'Heartbeat', restarts: 'Restarts' },
        kinds: { generate: 'generates', inspect: 'looks at files' }, states: { starting: 'starting', idle: 'idle', busy: 'busy', stopped: 'stopped' },
        version: 'version {v}', up: 'up {time}', counts: '{done} done, {failed} failed',
    },
    notify: {
        title: 'Notifications', hint: 'Be told when a batch ends or a job fails', events: 'When', batch_ended: 'a batch ends', job_failed: 'a job fails',
        webhook: 'Webhook', email: 'E-mail', wecom: 'WeChat Work', dingtalk: 'DingTalk', feishu: 'Feishu', url: 'Address', secret: 'Secret (optional)',
        smtp: 'SMTP server', user: 'User', password: 'Password', from: 'From', to: 'To (separated by commas)', test: 'Send a test', saved: 'Saved',
        sent: '{target}: sent', notSent: '{target}: {error}', nothing: 'No target is filled in',
    },
};
