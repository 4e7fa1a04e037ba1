// A process that works on a run until it is killed, telling after each operation what is done.
// node busy.mjs <runsDir> <runId> <create|restore|prune|mixed> [<times>]

import fs from 'node:fs';
import path from 'node:path';
import waymark from '../../index.js';

const [runsDir, runId, mode, times = '100000'] = process.argv.slice(2);
const manager = new waymark.CheckpointManager({ runsDir });
/** @param {string} line */
const tell = (line) => fs.writeSync(1, `${line}\n`);
const runFile = path.join(runsDir, runId, 'run.json');

/** @param {number} n */
function create(n) {
  const made = manager.createSync(runId, n % 2 ? n : n + 0.5, { n, text: 'x'.repeat(n % 5000) });
  tell(`created ${made.checkpointId}`);
}

/** A runner's own change, by temp file and rename. @param {number} n */
function work(n) {
  const record = JSON.parse(fs.readFileSync(runFile, 'utf8'));
  const temporary = `${runFile}.tmp.${process.pid}`;
  fs.writeFileSync(temporary, JSON.stringify({ ...record, current_step: n }, null, 2));
  fs.renameSync(temporary, runFile);
}

/** A runner's change in the middle of it is refused, rightly; then it is tried again. @returns {string} */
function restore() {
  for (;;) {
    try {
      return manager.restoreSync(runId).checkpointId;
    } catch (error) {
      if (/** @type {{ code?: unknown }} */ (error).code !== 'ERR_PLAN_STALE') throw error;
    }
  }
}

tell('ready');
for (let n = 0; n < Number(times); n += 1) {
  if (mode === 'create' || (mode === 'mixed' && n % 3 === 0)) create(n);
  if (mode === 'restore' || (mode === 'mixed' && n % 3 === 1)) {
    if (mode === 'restore') work(n);
    tell(`restored ${restore()}`);
  }
  if (mode === 'prune' || (mode === 'mixed' && n % 3 === 2)) {
    for (let k = 0; k < 3; k += 1) {
      const made = manager.createSync(runId, k, {}, { keepLast: 'all' });
      tell(`created ${made.checkpointId}`);
    }
    tell(`pruned ${manager.pruneSync(runId, { keepLast: 2 + (n % 4) }).dropped.length}`);
  }
}
tell('end');
