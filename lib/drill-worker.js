// A process of a drill: does one thing with a copy of a run, and may be killed at it.

const fs = require('node:fs');
const { randomBytes } = require('node:crypto');
const { CheckpointManager } = require('./manager.js');

const { runsDir, store, runId, what, checkpointId, only } = JSON.parse(process.argv[2] ?? '{}');
const manager = new CheckpointManager({ runsDir, store });
fs.writeSync(1, 'ready\n');
try {
  if (what === 'create') {
    manager.createSync(
      runId,
      'drill',
      { noise: randomBytes(64 << 10).toString('hex') },
      { keepLast: 'all' },
    );
  } else {
    manager.restoreSync(runId, { checkpointId, only, onConflict: 'overwrite' });
  }
} catch (error) {
  const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
  fs.writeSync(2, JSON.stringify({ code, message }));
  process.exitCode = 1;
}
