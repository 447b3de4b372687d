// A value as it was when nobody had changed it for a moment: what is searched for while one types.
import { type Ref, ref, watch } from 'vue';

const PAUSE_MS = 250;

export function settled(source: Ref<string>): Ref<string> {
    const value = ref(source.value);
    let timer: number | undefined;
    watch(source, (now) => {
        clearTimeout(timer);
        timer = window.setTimeout(() => { value.value = now; }, PAUSE_MS);
    });
    return value;
}
