// Works on a run whose files change, until it is killed: creates, prunes, or collects.

import fs from 'node:fs';
import path from 'node:path';
import waymark from '../../index.js';

const [runsDir, runId, mode, count = '1000000'] = process.argv.slice(2);
const manager = new waymark.CheckpointManager({ runsDir, keepLast: 6 });
const dir = path.join(runsDir, runId, 'artifacts');
fs.mkdirSync(dir, { recursive: true });

let seed = process.pid;
function noise() {
  const bytes = Buffer.alloc(3000 + (seed % 40_000));
  for (let at = 0; at < bytes.length; at += 1) {
    seed = (seed * 48271) % 2147483647;
    bytes[at] = seed & (seed & 64 ? 255 : 15);
  }
  return bytes;
}

for (let turn = 0; turn < Number(count); turn += 1) {
  if (mode === 'create') {
    const name = path.join(dir, `file-${turn % 7}`);
    fs.writeFileSync(name, noise());
    const text = 'state '.repeat(seed % 30_000);
    const { checkpointId } = manager.createSync(runId, turn, { turn, text });
    process.stdout.write(`created ${checkpointId}\n`);
  } else if (mode === 'prune') {
    manager.pruneSync(runId, { keepLast: 3 });
  } else {
    manager.gcSync({ maxUnused: 0 });
  }
  if (turn === 0) process.stdout.write('ready\n');
}
