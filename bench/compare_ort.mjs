// koubo's Wav2Lip against ONNX Runtime's, alternately in one run, so that both meet the same machine.
//
//   npm ci --prefix bench
//   node bench/compare_ort.mjs build/koubo [--repeat 5]
//
// Prints one flat JSON object of medians: ort.wav2lip.f32.fps, network.wav2lip.*.fps and
// ratio.wav2lip.*, which is the median of the ratios of neighbours. A precision that this processor
// cannot compute in is left out, with a sentence. ONNX Runtime gets as many threads
// as there are processors, all its optimizations, batch norm already folded, batches of 16, which was
// its fastest.
import { execFileSync, spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';

import { OnnxGraph } from './onnx.mjs';

const BATCH = 16;
const MEASURE_MS = 1500;

// --- the published network (Prajwal et al. 2020) ---

// [in, out, kernel, stride, pad]; a residual layer is its number of channels alone.
const ENCODER = [
  [[6, 16, 7, 1, 3]],
  [[16, 32, 3, 2, 1], 32, 32],
  [[32, 64, 3, 2, 1], 64, 64, 64],
  [[64, 128, 3, 2, 1], 128, 128],
  [[128, 256, 3, 2, 1], 256, 256],
  [[256, 512, 3, 2, 1], 512],
  [[512, 512, 3, 1, 0], [512, 512, 1, 1, 0]],
];
const AUDIO = [
  [1, 32, 3, 1, 1], 32, 32, [32, 64, 3, [3, 1], 1], 64, 64, [64, 128, 3, 3, 1], 128, 128,
  [128, 256, 3, [3, 2], 1], 256, [256, 512, 3, 1, 0], [512, 512, 1, 1, 0],
];
// Transposed convolutions, [in, out, stride], each followed by residual layers.
const DECODER = [
  [[1024, 512, 1], 512], [[1024, 512, 2], 512, 512], [[768, 384, 2], 384, 384],
  [[512, 256, 2], 256, 256], [[320, 128, 2], 128, 128], [[160, 64, 2], 64, 64],
];

const pair = (x) => (Array.isArray(x) ? x : [x, x]);

function random(n, half) {
  return Float32Array.from({ length: n }, () => (2 * Math.random() - 1) * half);
}

function convolution(g, x, inner, out, kernel, stride, pad) {
  const shape = [out, inner, kernel, kernel];
  const taps = inner * kernel * kernel;
  return g.op('Conv', [x, g.weights(shape, random(out * taps, Math.sqrt(3 / taps))),
    g.weights([out], random(out, 0.1))],
  { kernel_shape: [kernel, kernel], strides: pair(stride), pads: [pad, pad, pad, pad] });
}

function layer(g, x, spec) {
  if (Array.isArray(spec)) return g.op('Relu', [convolution(g, x, ...spec)]);
  return g.op('Relu', [g.op('Add', [convolution(g, x, spec, spec, 3, 1, 1), x])]);
}

function transposed(g, x, [inner, out, stride]) {
  const half = Math.sqrt(3 * stride * stride / (inner * 9));
  const edge = stride === 1 ? 0 : 1;
  return g.op('Relu', [g.op('ConvTranspose', [x,
    g.weights([inner, out, 3, 3], random(inner * out * 9, half)), g.weights([out], random(out, 0.1))],
  { kernel_shape: [3, 3], strides: pair(stride), pads: [edge, edge, edge, edge],
    output_padding: [edge, edge] })]);
}

function wav2lip(batch) {
  const g = new OnnxGraph();
  let face = g.input('face', [batch, 6, 96, 96]);
  let x = AUDIO.reduce((value, spec) => layer(g, value, spec), g.input('mel', [batch, 1, 80, 16]));
  const levels = ENCODER.map((block) => {
    face = block.reduce((value, spec) => layer(g, value, spec), face);
    return face;
  });
  const join = (value) => g.op('Concat', [value, levels.pop()], { axis: 1 });
  x = join(layer(g, x, [512, 512, 1, 1, 0]));
  for (const [first, ...rest] of DECODER) {
    x = rest.reduce((value, spec) => layer(g, value, spec), transposed(g, x, first));
    x = join(x);
  }
  x = convolution(g, layer(g, x, [80, 32, 3, 1, 1]), 32, 3, 1, 1, 0);
  g.output(g.op('Sigmoid', [x], {}, 'face_out'), [batch, 3, 96, 96]);
  return g.model();
}

// --- measuring ---

// In a process of its own (this file with --ort): prints frames a second.
async function measureOrt() {
  const { default: ort } = await import('onnxruntime-node');
  const session = await ort.InferenceSession.create(wav2lip(BATCH), {
    intraOpNumThreads: availableParallelism(), graphOptimizationLevel: 'all',
  });
  const feeds = {
    face: new ort.Tensor('float32', random(BATCH * 6 * 96 * 96, 1), [BATCH, 6, 96, 96]),
    mel: new ort.Tensor('float32', random(BATCH * 80 * 16, 1), [BATCH, 1, 80, 16]),
  };
  const first = await session.run(feeds); // touches all memory
  if (first.face_out.dims.join() !== `${BATCH},3,96,96`) throw new Error('not the network it should be');
  const since = performance.now();
  let frames = 0;
  for (; performance.now() - since < MEASURE_MS; frames += BATCH) await session.run(feeds);
  console.log(frames * 1000 / (performance.now() - since));
}

const skipped = new Set();

// Frames a second by key. koubo's exit status is not 0 where one of them cannot be had; it says why
// itself, and that figure is null.
function measureKoubo(program) {
  const run = spawnSync(program, ['bench', '-q', '--only', 'network.wav2lip', '--repeat', '1', '--json'],
    { stdio: ['ignore', 'pipe', skipped.size ? 'ignore' : 'inherit'], encoding: 'utf8' });
  if (run.error) throw run.error;
  let figures;
  try {
    figures = JSON.parse(run.stdout);
  } catch {
    throw new Error(`${program} bench gave no figures (exit status ${run.status ?? run.signal})`);
  }
  const network = Object.entries(figures).filter(([key]) => key.startsWith('network.'));
  for (const [key, fps] of network) {
    if (fps !== null || skipped.has(key)) continue;
    console.error(`${key} is left out: it cannot be measured on this machine`);
    skipped.add(key);
  }
  return Object.fromEntries(network.filter(([, fps]) => fps !== null));
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

function compare(program, repeat) {
  const self = fileURLToPath(import.meta.url);
  const seen = {};
  const note = (key, value) => (seen[key] ??= []).push(value);
  for (let i = 0; i < repeat; i++) {
    console.error(`run ${i + 1} of ${repeat}`);
    const ort = Number(execFileSync(process.execPath, [self, '--ort']));
    note('ort.wav2lip.f32.fps', ort);
    for (const [key, fps] of Object.entries(measureKoubo(program))) {
      note(key, fps);
      note(key.replace('network.', 'ratio.').replace('.fps', ''), fps / ort);
    }
  }
  const result = {};
  for (const [key, values] of Object.entries(seen)) {
    result[key] = Number(median(values).toPrecision(4));
    const spread = [Math.min(...values), Math.max(...values)].map((v) => v.toPrecision(4));
    console.error(`${key.padEnd(28)} ${String(result[key]).padStart(8)}  (${spread.join(' to ')})`);
  }
  console.log(JSON.stringify(result, null, 2));
}

const [program, option, count] = process.argv.slice(2);
if (program === '--ort') await measureOrt();
else if (program && (!option || (option === '--repeat' && Number(count) > 0))) compare(program, Number(count ?? 5));
else {
  console.error('usage: node bench/compare_ort.mjs build/koubo [--repeat 5]');
  process.exit(2);
}
