const zh = {
    title: '口播',
    language: 'English',
    switchLanguage: '切换到英文',
    menu: '主菜单',
    tabs: { batch: '批量处理', single: '单个处理', queue: '队列', results: '生成结果历史', log: '日志', system: '系统' },
    connection: { on: '已连接', off: '连接已断开，正在重连…', loading: '正在连接…', lost: '已断开' },
    error: { connection: '连不上服务，请检查 koubo 是否在运行' },
    common: {
        cancel: '取消', delete: '删除', close: '关闭', save: '保存', retry: '重试', copy: '复制', copied: '已复制', all: '全部', more: '更多 {n} 个',
        hide: '收起', download: '下载', play: '播放', loading: '正在加载…', and: '、',
    },
    login: { title: '请输入口令', hint: '口令在启动 koubo 的窗口里，或问管理员。', submit: '进入', wrong: '口令不对，请再试一次' },
    audio: {
        title: '音频', upload: '上传音频文件', hint: 'wav mp3 m4a aac flac ogg，视频里的声音也可以',
        source: '音频来源', file: '音频文件', speech: '文字转语音', text: '输入要说的话', voice: '声音', make: '生成语音', making: '正在生成语音…',
        replace: '换一个', looking: '正在检查…',
    },
    video: {
        title: '视频', titleOne: '视频', upload: '拖放或点击选择视频文件', hint: 'mp4 avi mov mkv webm flv，也可以是照片；可以一次选很多个', hintOne: 'mp4 avi mov mkv webm flv，也可以是照片',
        folder: '选择整个文件夹', removeSelected: '删除选中', clear: '清空列表', previewHint: '点击名称，在这里预览', selectAll: '全选',
        count: '{n} 个视频', one: '拖放或点击选择一个视频', stalled: '网络断开，恢复后自动继续', waiting: '等待上传', looking: '检查中…', empty: '文件是空的',
        cannotPlay: '浏览器放不了这种格式，但可以照常处理', missing: '上次没有传完，重新选择这个文件就会接着传', choose: '选择文件', tooMany: '一次最多 1000 个视频',
        noVideos: '这个文件夹里没有视频', remove: '移除 {name}',
    },
    warning: {
        no_face: '没有检测到人脸', several_faces: '有多张人脸', small_face: '人脸太小', very_long: '时间很长', low_resolution: '分辨率低',
        silent: '没有声音', short: '时间太短',
        help: {
            no_face: '没有人脸的画面会原样保留', several_faces: '默认让最大的脸说话，可在参数设置里改', small_face: '脸太小时效果不好，建议换近一些的画面',
            very_long: '处理需要较长时间，可以先用短一点的片段试试', low_resolution: '建议使用 720p 以上的视频', silent: '听不到声音，请先试听', short: '内容很短，请确认是否完整',
        },
    },
    options: {
        title: '参数设置', hint: '默认值适合大多数视频', changed: '已修改 {n} 项', reset: '恢复默认', default: '默认',
        batchName: '批次名称', namePlaceholder: '默认用音频的名字', priority: '优先级', priorities: { 8: '高', 5: '普通', 2: '低' },
        groups: { who: '人物', time: '时长', picture: '画面和声音', mouth: '嘴和头', wav2lip: '嘴部（只用于 Wav2Lip 模型）', compute: '计算' },
        model: '模型', face: '谁说话', loop: '音频比视频长时', keep_video: '音频较短时保留余下视频', start: '从第几秒开始', duration: '最多做几秒',
        height: '输出高度', crf: '画质', preset: '编码速度', bitrate: '使用原视频的码率', denoise: '画面去噪', loudnorm: '统一响度', sharpen: '嘴部锐化',
        mask_feather: '蒙版柔边', mask_dilate: '蒙版扩大', nosmooth: '不平滑人脸位置', pads: '人脸边距（上 下 左 右）', precision: '计算精度',
        mouth_amount: '嘴张多大', mouth_from: '牙齿取自', ownMouth: '各个视频自己', style_from: '说话习惯取自', ownStyle: '各个视频自己', words: { no: '不学（普通人的嘴形）' }, still_motion: '图片里头动多少', paint: '只借用它的嘴形',
        faces: { largest: '最大的脸', left: '最左边', right: '最右边', center: '最中间' }, faceNumber: '第 {n} 大的脸',
        loops: { pingpong: '来回播放', restart: '从头播放', freeze: '停在最后一帧', none: '到视频结束为止' }, original: '与原视频相同',
        help: {
            model: '自带的听得最准，但只能用于非商业用途；商用请选 koubo-lips。选 Wav2Lip 模型后，下面会多出它的参数', face: '画面里有几个人时有用', loop: '来回播放最自然，看不出接头', keep_video: '不选时，视频跟着音频一起结束',
            start: '空着：从头开始', duration: '空着：全部；先试 10 秒很方便', height: '只会缩小，不会放大', crf: '0 最好，51 最差；默认 18，看不出损失',
            preset: '越慢，文件越小', bitrate: '不压低码率，画质一项不再起作用', denoise: '画面有噪点时使用', loudnorm: '音量忽大忽小时使用（-16 LUFS）',
            sharpen: '嘴部发糊时试 0.5 到 1', mask_feather: '嘴部边缘看得出接缝时加大', mask_dilate: '下巴没有盖住时加大', nosmooth: '脸动得很快时使用',
            mouth_amount: '默认 1：和本人在视频里一样；嘴动得太少时试 1.3', mouth_from: '视频里从不张嘴时，选同一个人的另一个视频', style_from: '从本人说话的视频和原声里学口型习惯，至少 10 秒；学不到就不用', still_motion: '只用于图片：0 不动，1 最明显',
            paint: '移动本人的嘴唇，和视频一样清晰；关闭时显示模型画的嘴',
            pads: '单位像素；下巴没有盖住时加大第二个数', precision: '只影响 Wav2Lip 模型；自动：处理器支持的最快一种',
        },
    },
    start: {
        title: '生成', batch: '开始批量生成', single: '开始生成', noAudio: '请先上传音频', noVideo: '请先选择视频', uploading: '文件传完就可以开始',
        missing: '有文件没有传完，请重新选择或移除', badAudio: '音频有问题，请换一个', started: '已开始，共 {n} 个视频', ready: '准备好了',
        result: '生成结果', noResult: '生成的视频会出现在这里',
    },
    progress: {
        title: '当前进度', none: '现在没有任务', now: '正在处理：{name}', eta: '剩余 {time}', wholeLeft: '整批剩余 {time}', place: '排队中 · 第 {n} 位',
        beat: '最近心跳 {n} 秒前', frames: '{done} / {total} 帧', fps: '{n} 帧/秒', done: '成功 {n} / {total}', failed: '失败 {n}', cancelled: '取消 {n}', skipped: '跳过 {n}', attempt: '第 {n} 次尝试',
        failedAgain: '第 {n} 次仍失败', fold: '收起 {name}', unfold: '展开 {name}', zip: '打包本批', results: '查看结果',
        pause: '暂停', resume: '继续', cancelBatch: '取消整批', retryFailed: '重试失败的', retryCancelled: '重做取消的', cancelling: '正在取消…', still: '{doing}，{n} 秒没有新进展',
        took: '用时 {time}', spent: '已用 {time}', cancelSure: '取消“{name}”里还没完成的任务？', jobs: '{name} 的任务',
    },
    state: {
        queued: '排队中', loading: '初始化模型', audio: '读取语音', preprocessing: '预处理', generating: '生成', finishing: '写出', done: '成功', failed: '失败',
        cancelled: '已取消', skipped: '已跳过', active: '进行中', paused: '已暂停', ended: '已结束',
    },
    outcome: { done: '全部成功', partly: '部分成功', failed: '失败', cancelled: '已取消' },
    waiting: {
        worker: '等待空闲的工作进程', paused: '批次已暂停', disk: '磁盘空间不足，腾出空间后自动继续', speech: '等待语音生成', download: '等待下载完成', retry: '稍后自动重试',
    },
    doing: { loading: '正在加载模型', audio: '正在读取语音', preprocessing: '正在找人脸', generating: '正在生成画面', finishing: '正在写文件' },
    queue: {
        title: '队列', empty: '队列是空的', up: '上移 {name}', down: '下移 {name}', drag: '拖动可改变顺序', deleteSure: '删除“{name}”和它的全部结果？',
        open: '展开 {name}', filter: '状态', created: '{time} 创建', search: '按名称搜索', deleteJobSure: '删除“{name}”？结果也会删除。',
    },
    results: {
        empty: '还没有结果', emptyHint: '生成好的视频会出现在这里', search: '按名称搜索', selected: '已选 {n} 个', deleteMany: '批量删除', zip: '一键打包下载',
        zipSelected: '打包下载选中的 {n} 个', deleteSure: '删除“{name}”？', deleteManySure: '删除选中的 {n} 个结果？', total: '共 {n} 个', selectPage: '全选本页',
        clearSelection: '取消选择', deleted: '已删除 {n} 个', select: '选择 {name}', notFound: '没有找到符合的结果',
    },
    log: {
        follow: '跟随', level: '级别', levels: { error: '错误', warn: '警告', info: '信息', verbose: '详细' }, search: '搜索日志', empty: '没有符合的日志',
    },
    system: {
        doctor: '体检', again: '重新检查', checking: '正在检查…', workers: '工作进程', machine: '机器', disk: '磁盘', memory: '内存', cpu: '处理器',
        load: '负载 {n}', cores: '{n} 核', free: '剩余 {free}，共 {total}', minFree: '少于 {size} 时新任务会等待', models: '模型', isDefault: '默认',
        none: '没有，使用处理器', gpu: '显卡',
        worker: { id: '编号', kind: '用途', state: '状态', job: '任务', model: '模型', memory: '内存', heartbeat: '心跳', restarts: '重启' },
        kinds: { generate: '生成', inspect: '检查文件' }, states: { starting: '启动中', idle: '空闲', busy: '工作中', stopped: '已停止' },
        levels: { ok: '正常', warning: '注意', problem: '有问题' }, seconds: '{n} 秒前', server: '服务',
        version: '版本 {v}', up: '已运行 {time}', counts: '成功 {done}，失败 {failed}',
        lost: '以前的数据库留下的文件', lostCounts: '结果 {results} 个，其他文件 {others} 个，共 {size}', lostWhat: '这些文件会一直留在数据文件夹里，由你决定去留。在服务器上运行：',
        lostRestore: '找回这些结果', lostClean: '全部删除',
    },
    notify: {
        title: '通知', hint: '批次结束或任务失败时通知你。', events: '何时通知', batch_ended: '批次结束', job_failed: '任务失败',
        webhook: 'Webhook', email: '邮件', wecom: '企业微信', dingtalk: '钉钉', feishu: '飞书', url: '地址', secret: '密钥（可空）',
        smtp: 'SMTP 服务器', user: '用户名', password: '密码', from: '发件人', to: '收件人（逗号分隔）', test: '发送测试', saved: '已保存', on: '已填写',
        sent: '{target}：发送成功', notSent: '{target}：{error}', nothing: '还没有填写通知方式',
        tls: '加密（TLS）', passwordAgain: '服务器、端口、用户名或 TLS 已更改：请重新填写密码',
        secretAgain: '地址已更改：请重新填写密钥，没有密钥则留空',
    },
};

export type Texts = typeof zh;
export default zh;
