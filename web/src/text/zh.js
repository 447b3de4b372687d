export default {
    title: '口播',
    tagline: '让视频里的人说出音频里的话',
    language: 'English',
    tabs: { batch: '批量处理', single: '单个处理', queue: '队列', results: '生成结果历史', log: '日志', system: '系统' },
    connection: { on: '已连接', off: '连接已断开，正在重连…', loading: '正在连接…' },
    error: { connection: '连不上服务，请检查 koubo 是否在运行' },
    common: {
        cancel: '取消', delete: '删除', close: '关闭', save: '保存', retry: '重试', refresh: '刷新', copy: '复制', copied: '已复制',
        search: '搜索', all: '全部', confirm: '确定', more: '更多', show: '展开', hide: '收起', download: '下载', play: '播放',
    },
    login: { title: '请输入口令', hint: '口令在启动 koubo 的窗口里，或问管理员', submit: '进入', wrong: '口令不对' },
    audio: {
        title: '音频', upload: '上传音频文件', hint: '拖放或点击选择：wav mp3 m4a aac flac ogg，视频里的声音也可以',
        file: '音频文件', speech: '文字转语音', text: '输入要说的话', voice: '声音', make: '生成语音', making: '正在生成语音…',
        replace: '换一个', remove: '移除', looking: '正在检查…', notAudio: '这个文件里没有声音',
    },
    video: {
        title: '视频', upload: '拖放或点击选择视频文件', hint: 'mp4 avi mov mkv webm flv，也可以是照片；可多选', hintOne: 'mp4 avi mov mkv webm flv，也可以是照片',
        files: '选择文件', folder: '选择文件夹', removeSelected: '删除选中', clear: '清空列表', preview: '预览',
        previewHint: '点击左边的名称预览', selectAll: '全选', count: '{n} 个视频', one: '选择一个视频',
        uploading: '上传中 {percent}%', stalled: '等待网络…', looking: '检查中…', empty: '文件是空的', cannotPlay: '浏览器放不了这种格式，但可以处理',
        unfinished: '上次没有传完：{names}。重新选择同一个文件会接着传。', tooMany: '一次最多 1000 个视频',
    },
    warning: {
        no_face: '没有检测到人脸', several_faces: '有多张人脸', small_face: '人脸太小', very_long: '很长，需要较久',
        low_resolution: '分辨率低', silent: '没有声音', short: '太短',
    },
    options: {
        title: '参数设置', hint: '不改也行，默认值适合大多数视频', reset: '恢复默认', default: '默认',
        name: '批次名称', namePlaceholder: '默认用音频的名字', priority: '优先级',
        priorities: { 2: '低', 5: '普通', 8: '高' },
        model: '模型', face: '谁说话', faces: { largest: '最大的脸', left: '最左边', right: '最右边', center: '最中间' },
        loop: '音频比视频长时', loops: { pingpong: '来回播放', restart: '从头播放', freeze: '停在最后一帧', none: '到视频结束为止' },
        keep_video: '音频较短时保留余下视频', start: '从视频的第几秒开始', duration: '最多做几秒', height: '输出高度', original: '与原视频相同',
        crf: '画质（越小越好）', preset: '编码速度', bitrate: '使用原视频码率', denoise: '画面去噪', loudnorm: '统一响度',
        sharpen: '嘴部锐化', mask_feather: '蒙版柔边', mask_dilate: '蒙版扩大', nosmooth: '不平滑人脸位置', pads: '人脸边距（上 下 左 右）',
        precision: '计算精度', groups: { who: '人物', time: '时长', picture: '画面和声音', mouth: '嘴部', compute: '计算' },
    },
    start: {
        batch: '开始批量生成', single: '开始生成', noAudio: '请先上传音频', noVideo: '请先选择视频', uploading: '等文件传完就可以开始',
        badAudio: '音频有问题，请换一个', started: '已开始，共 {n} 个视频', result: '生成结果',
    },
    progress: {
        title: '当前进度', none: '现在没有任务', ended: '已完成 {done} / {total}', now: '当前：{name}', eta: '剩余 {time}', beat: '{n} 秒前有响应',
        fps: '{n} 帧/秒', failed: '失败 {n}', cancelled: '取消 {n}', queued: '排队 {n}', attempt: '第 {n} 次尝试',
        pause: '暂停', resume: '继续', cancelBatch: '取消整批', retryFailed: '重试失败的', paused: '已暂停', cancelling: '正在取消…',
        still: '{stage}，{n} 秒没有新进展', took: '用时 {time}', cancelSure: '取消“{name}”里还没完成的任务？',
    },
    state: {
        queued: '排队中', loading: '初始化模型', preprocessing: '预处理', generating: '生成', finishing: '写出', done: '完成', failed: '失败',
        cancelled: '已取消', active: '进行中', paused: '已暂停', ended: '已结束',
    },
    waiting: {
        worker: '等待空闲的工作进程', paused: '批次已暂停', disk: '磁盘空间不足，等待腾出空间', speech: '等待语音生成', download: '等待下载',
        retry: '稍后重试',
    },
    doing: {
        loading: '正在加载模型', preprocessing: '正在找人脸', generating: '正在生成画面', finishing: '正在写文件',
    },
    queue: {
        title: '队列', empty: '队列是空的', up: '上移', down: '下移', first: '移到最前', deleteSure: '删除“{name}”和它的全部结果？',
        jobs: '任务', filter: '状态', created: '创建于 {time}', search: '按名称搜索',
    },
    results: {
        empty: '还没有结果', search: '按名称搜索', selected: '已选 {n} 个', deleteMany: '批量删除', zip: '一键打包下载', zipSelected: '打包下载选中',
        deleteSure: '删除“{name}”？', deleteManySure: '删除选中的 {n} 个结果？', total: '共 {n} 个', selectPage: '全选本页', deleted: '已删除 {n} 个',
        select: '选择 {name}',
    },
    log: { follow: '跟随', level: '级别', levels: { error: '错误', warn: '警告', info: '信息', verbose: '详细' }, search: '搜索日志', empty: '没有符合的日志' },
    system: {
        doctor: '体检', again: '重新检查', checking: '正在检查…', workers: '工作进程', machine: '机器', disk: '磁盘', memory: '内存', cpu: '处理器',
        load: '负载', cores: '{n} 核', free: '剩余 {free} / 共 {total}', minFree: '少于 {size} 时新任务等待', models: '模型', isDefault: '默认', none: '无', gpu: '显卡',
        worker: { id: '编号', kind: '用途', state: '状态', job: '任务', model: '模型', memory: '内存', heartbeat: '心跳', restarts: '重启' },
        kinds: { generate: '生成', inspect: '检查文件' }, states: { starting: '启动中', idle: '空闲', busy: '工作中', stopped: '已停止' },
        version: '版本 {v}', up: '已运行 {time}', counts: '已完成 {done}，失败 {failed}',
    },
    notify: {
        title: '通知', hint: '批次结束或任务失败时通知你', events: '何时通知', batch_ended: '批次结束', job_failed: '任务失败',
        webhook: 'Webhook', email: '邮件', wecom: '企业微信', dingtalk: '钉钉', feishu: '飞书', url: '地址', secret: '密钥（可空）',
        smtp: 'SMTP 服务器', user: '用户名', password: '密码', from: '发件人', to: '收件人（逗号分隔）', test: '发送测试', saved: '已保存',
        sent: '{target}：发送成功', notSent: '{target}：{error}', nothing: '还没有填写通知方式',
    },
};
