export function bytes(n) {
    if (!(n >= 0)) return '';
    const units = ['B', 'KB', 'MB', 'GB', 'TB'];
    let i = 0;
    for (; n >= 1000 && i < units.length - 1; i++) n /= 1000;
    return `${n.toFixed(i === 0 || n >= 100 ? 0 : 1)} ${units[i]}`;
}

// 83000 ms -> 1:23
export function duration(ms) {
    if (!(ms >= 0)) return '';
    const s = Math.round(ms / 1000);
    const two = (n) => String(n).padStart(2, '0');
    return s >= 3600
        ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`
        : `${Math.floor(s / 60)}:${two(s % 60)}`;
}

export function date(ms, locale) {
    return new Date(ms).toLocaleString(locale === 'zh' ? 'zh-CN' : 'en-GB',
        { month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit' });
}
