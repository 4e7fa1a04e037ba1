// Whether listing one run stays as fast when it is one of many.

import path from 'node:path';
import { CheckpointManager } from '../index.mjs';
import { makeBareRun, makeRun, smallState } from './lib/fixtures.mjs';
import { interleave } from './lib/sampling.mjs';
import { row } from './lib/statistics.mjs';

const CHECKPOINTS = 5;
const FEW = 10;
const MANY = 10_000;
/** A call takes microseconds: one sample is several calls. */
const CALLS = 10;

/**
 * @param {string} folder
 * @param {number} runs
 */
function project(folder, runs) {
  const runsDir = path.join(folder, '.claude/context/runtime/runs');
  for (let at = 1; at < runs; at += 1) makeBareRun(runsDir, `run-${at}`);
  makeRun(runsDir, 'run', 20);
  // By `root`: the folder of runs is looked for too.
  const manager = new CheckpointManager({ root: folder });
  for (let step = 1; step <= CHECKPOINTS; step += 1) manager.createSync('run', step, smallState);
  return manager;
}

/**
 * @param {string} folder
 * @returns {Promise<import('./lib/statistics.mjs').Row[]>}
 */
export async function benchList(folder) {
  const few = project(path.join(folder, 'few'), FEW);
  const many = project(path.join(folder, 'many'), MANY);
  const sync = (/** @type {CheckpointManager} */ manager) => () => {
    for (let call = 0; call < CALLS; call += 1) {
      if (manager.listSync('run').length !== CHECKPOINTS) throw new Error('the list is not whole');
    }
  };
  const async = (/** @type {CheckpointManager} */ manager) => async () => {
    for (let call = 0; call < CALLS; call += 1) await manager.list('run');
  };
  const samples = await interleave(
    {
      few: { run: sync(few) },
      many: { run: sync(many) },
      fewAsync: { run: async(few) },
      manyAsync: { run: async(many) },
    },
    { rounds: 200, warmUp: 20 },
  );
  const each = (/** @type {number[]} */ times) => times.map((time) => (time * 1000) / CALLS);
  const [a, b] = [each(samples.few), each(samples.many)];
  const [c, d] = [each(samples.fewAsync), each(samples.manyAsync)];
  // "Flat" with room for noise: one more look per run would be a ratio of hundreds.
  const about = { unit: 'µs', baseName: `among ${FEW}`, bound: 1.25 };
  return [
    row('list', `listSync, ${CHECKPOINTS} checkpoints, among ${FEW} runs`, a, { unit: 'µs' }),
    row('list', `listSync, the same among ${MANY} runs`, b, { ...about, base: a }),
    row('list', `list, ${CHECKPOINTS} checkpoints, among ${FEW} runs`, c, { unit: 'µs' }),
    row('list', `list, the same among ${MANY} runs`, d, { ...about, base: c }),
  ];
}
