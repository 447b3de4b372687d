import vue from '@vitejs/plugin-vue';
import { defineConfig } from 'vite';

// `npm run dev` talks to a koubo serve on this address.
const server = process.env.KOUBO_URL ?? 'http://127.0.0.1:7860';

export default defineConfig({
    plugins: [vue()],
    define: {
        __VUE_OPTIONS_API__: true, // Element Plus has components of that kind
        __VUE_PROD_DEVTOOLS__: false,
        __VUE_I18N_FULL_INSTALL__: false,
        __VUE_I18N_LEGACY_API__: false,
        __INTLIFY_PROD_DEVTOOLS__: false,
    },
    build: { target: 'es2020', assetsInlineLimit: 0, modulePreload: { polyfill: false } },
    server: { proxy: { '/api': server, '/healthz': server } },
});
