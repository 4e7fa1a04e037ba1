// Takes checkpoints of a run, as many as asked for: `<runsDir> <run> <count>`.

import waymark from '../../index.js';

const [runsDir, runId, count] = process.argv.slice(2);
const manager = new waymark.CheckpointManager({ runsDir, keepLast: 3 });
for (let step = 0; step < Number(count); step += 1) {
  const { checkpointId, warnings } = manager.createSync(runId, step, { step });
  process.stdout.write(`created ${checkpointId} ${warnings.length}\n`);
}
