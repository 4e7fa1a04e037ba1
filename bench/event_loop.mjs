// How long asynchronous calls keep the event loop from turning.

import { CheckpointManager } from '../index.mjs';
import { largeState, makeRun, smallState } from './lib/fixtures.mjs';
import { measureLoop } from './lib/loop_watch.mjs';

/**
 * @param {string} folder
 * @returns {Promise<import('./lib/statistics.mjs').Row[]>}
 */
export async function benchEventLoop(folder) {
  const manager = new CheckpointManager({ runsDir: folder });
  for (const runId of ['large', 'tiny']) makeRun(folder, runId, 5000);
  const state = largeState(1 << 20);
  return measureLoop(
    {
      // What is nobody's fault: the same timer with nothing else to do.
      'nothing, for 80 ms': { run: () => new Promise((resolve) => setTimeout(resolve, 80)) },
      'create, 1 MB state': { run: () => manager.create('large', 1, state) },
      'create, tiny state': { run: () => manager.create('tiny', 1, smallState) },
      list: { run: () => manager.list('large') },
      restore: { run: () => manager.restore('large') },
    },
    { rounds: 100, warmUp: 5 },
  );
}
