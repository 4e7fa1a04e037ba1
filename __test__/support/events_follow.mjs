// Follows the audit log and notes in a file what it handled, until it is killed: `<runsDir> <file>`. Begins behind the
// last whole line of the file, as a follower that was killed does.

import fs from 'node:fs';
import waymark from '../../index.js';

const [runsDir, file] = process.argv.slice(2);
const text = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
const whole = text.slice(0, text.lastIndexOf('\n') + 1);
fs.writeFileSync(file, whole);
const last = whole.trimEnd().split('\n').at(-1);
const after = last ? JSON.parse(last).seq : 0;
const manager = new waymark.CheckpointManager({ runsDir });
process.stdout.write('ready\n');
for await (const event of manager.followEvents({ after, pollMs: 5 })) {
  fs.appendFileSync(file, `${JSON.stringify(event)}\n`);
}
