// What it costs to keep every step of a state that grows: each step adds about 2 KB.

import { bytesBelow } from './files.mjs';
import { sizeRow } from './lib/statistics.mjs';
import { Writer } from './lib/trees.mjs';
import { openStates } from './lib/waymark_capture.mjs';

const STEPS = 1000;
const ADDED_BYTES = 2000;
/** The runner's own files, which it has without Waymark too. */
const RUNNERS = ['run.json', 'artifact-registry.json'];

/**
 * @param {string} folder
 * @param {{ scale: number }} options
 * @returns {Promise<import('./lib/statistics.mjs').Row[]>}
 */
export async function benchGrowingState(folder, { scale }) {
  const steps = Math.max(2, Math.round(STEPS * scale));
  const create = await openStates(folder);
  const writer = new Writer();
  /** @type {{ role: string, content: string }[]} */
  const messages = [];
  for (let step = 0; step < steps; step += 1) {
    const role = step % 2 ? 'assistant' : 'user';
    messages.push({ role, content: writer.text(step, ADDED_BYTES) });
    await create(step, { messages });
  }
  const final = JSON.stringify({ messages }).length;
  const kept = bytesBelow(folder, RUNNERS);
  const title = `${steps} steps of +2 KB, all kept`;
  const group = 'growing_state';
  return [
    sizeRow(group, `${title}: the last state`, [final]),
    sizeRow(group, `${title}: all that Waymark keeps`, [kept], {
      base: [final],
      baseName: 'the last state',
      bound: 2,
    }),
  ];
}
