// A process that takes the lease of a run, and then does as it is told by lines on its standard input.
// node lease_holder.mjs <runsDir> <runId> <ttlMs> <keep: true|false>

import fs from 'node:fs';
import readline from 'node:readline';
import waymark from '../../index.js';

const [runsDir, runId, ttlMs, keep] = process.argv.slice(2);
const manager = new waymark.CheckpointManager({ runsDir });
/** @param {unknown} line */
const tell = (line) => fs.writeSync(1, `${JSON.stringify(line)}\n`);
/** @type {any} */
let lease;

/** @type {Record<string, () => unknown>} */
const acts = {
  take: () => {
    lease = manager.leaseSync(runId, {
      holder: 'holder',
      ttlMs: Number(ttlMs),
      keep: keep === 'true',
    });
    return { token: lease.token };
  },
  create: () => manager.createSync(runId, 1, { by: process.pid }).checkpointId,
  lost: () => lease.lost,
  release: () => lease.releaseSync(),
  // The event loop does nothing for half a second.
  block: () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500),
};

tell('ready');
for await (const line of readline.createInterface({ input: process.stdin })) {
  try {
    tell({ done: acts[line]() ?? null });
  } catch (error) {
    tell({ code: /** @type {any} */ (error).code });
  }
}
