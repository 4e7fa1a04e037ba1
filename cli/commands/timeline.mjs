import { count, duration, table } from '../output.mjs';

/** @typedef {import('../../index.js').TimelineEntry} Entry */

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'timeline',
  usage: '<run> [options]',
  summary: 'show what happened in a run, in its order',
  about:
    'Shows the steps of tasks, checkpoints, pauses, failures and restores of a run in the order in which they happened, with how long each took.',
  arguments: [['run', "the run's id"]],
  options: [],
  examples: [
    ['waymark timeline demo', ''],
    ['waymark timeline demo --json | jq .totals', 'for a script'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args }) {
  const runId = /** @type {string} */ (args[0]);
  const data = await manager.timeline(runId);
  return {
    data,
    text: (style) => {
      const columns = [
        { title: 'TIME' },
        { title: 'KIND' },
        { title: 'WHAT' },
        { title: 'TOOK', right: true },
        { title: 'CHECKPOINT' },
      ];
      const rows = data.entries.map((one) => [
        one.time,
        cell(one),
        line(one),
        one.took === undefined ? '' : took(one.took),
        one.checkpointId ?? '',
      ]);
      const { totals } = data;
      const sums = [
        count(totals.checkpoints, 'checkpoint'),
        `${totals.completed} of ${count(totals.steps, 'step')} done in ${took(totals.took)}`,
        count(totals.failures, 'failure'),
        count(totals.restores, 'restore'),
        `${count(totals.pauses, 'pause')} (${took(totals.paused)})`,
      ];
      return `${table(columns, rows, style)}\n\n${data.status ?? 'no status'}: ${sums.join(', ')}`;
    },
  };
}

/** @param {Entry} one @returns {import('../output.mjs').Cell} */
function cell({ kind, status }) {
  const isBad = kind === 'failure' || kind === 'damaged' || status === 'failed';
  return isBad ? { text: kind, format: 'red' } : kind;
}

/** What is inside something stands to the right of it. @param {Entry} one */
function line({ path = [], what, kind }) {
  // A checkpoint says what it is of; a step is named first.
  const name = path.length > 0 && (kind === 'step' || kind === 'task' || kind === 'failure');
  const said = name ? `${path[path.length - 1]}: ${what}` : what;
  return `${'  '.repeat(Math.max(0, path.length - 1))}${said.split('\n')[0].slice(0, 120)}`;
}

/** @param {number} ms */
function took(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : duration(ms);
}
