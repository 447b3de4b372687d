// Where a text has its sentences, to be heard one by one. The server parts texts by the same rules, and some more (src/media/sentences.c).
const ABBREVIATIONS = new Set(('Mr Mrs Ms Dr Prof St Sr Jr Gen Col Sgt Rev Hon Capt Lt vs No Nos Fig fig Vol vol pp cf approx e.g i.e '
    + 'Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Mt Ave a.k.a').split(' '));
const FULL_STOP = /[。！？｡]/;
const CLOSING = /["')\]}!?.”’」』】）》〉…~～。！？｡]/;
export const SAMPLE_LETTERS = 300; // the most that the server speaks as a sample

function goesOn(text: string, first: number, at: number, after: number): boolean {
    const next = text[after];
    if (next === undefined) return false;
    if (!/\s/.test(next)) return next.charCodeAt(0) < 0x2e80 || (text[at] === '.' && /\d/.test(text[at - 1] ?? ''));
    if (text[at] !== '.') return false;
    const word = /[^\s"'([{\u0080-\uffff]*$/.exec(text.slice(first, at))![0];
    if (after === at + 1 && (ABBREVIATIONS.has(word) || /^[A-Z]$/.test(word) || (/^\d{1,3}$/.test(word) && text.slice(first, at).trim() === word))) return true;
    return /^\s+[a-z]/.test(text.slice(after, after + 20));
}

export function sentencesOf(text: string): string[] {
    const found: string[] = [];
    for (const line of text.split(/[\r\n\u2028\u2029]+/)) {
        let first = 0;
        for (let at = 0; at < line.length; at++) {
            if (!FULL_STOP.test(line[at]) && !'.!?'.includes(line[at])) continue;
            let after = at + 1;
            while (after < line.length && CLOSING.test(line[after])) after++;
            if (FULL_STOP.test(line[at]) || !goesOn(line, first, at, after)) {
                found.push(line.slice(first, after));
                first = after;
            }
            at = after - 1;
        }
        found.push(line.slice(first));
    }
    return found.map((s) => s.trim()).filter((s) => /[\p{L}\p{N}]/u.test(s));
}
