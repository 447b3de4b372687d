export function bytes(n: number | null | undefined): string {
    if (n === null || n === undefined || n < 0) return '';
    const units = ['B', 'KB', 'MB', 'GB', 'TB'];
    let i = 0;
    let x = n;
    for (; x >= 1000 && i < units.length - 1; i++) x /= 1000;
    return `${x.toFixed(i === 0 || x >= 100 ? 0 : 1)} ${units[i]}`;
}

// 83000 ms -> 1:23
export function duration(ms: number | null | undefined): string {
    if (ms === null || ms === undefined || !(ms >= 0)) return '';
    const s = Math.round(ms / 1000);
    const two = (n: number) => String(n).padStart(2, '0');
    return s >= 3600
        ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`
        : `${Math.floor(s / 60)}:${two(s % 60)}`;
}

// Month, day and time, the same in both languages.
export function date(ms: number): string {
    const d = new Date(ms);
    const two = (n: number) => String(n).padStart(2, '0');
    return `${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}`;
}

export const joined = (facts: (string | number | false | null | undefined)[]) => facts.filter(Boolean).join(' · ');
