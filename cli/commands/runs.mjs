import { parseNames } from '../input.mjs';
import { age, duration, size, table } from '../output.mjs';

/** @typedef {import('../../index.js').RunStatus} RunStatus */

/** @type {Record<string, import('../output.mjs').Format>} */
const COLOURS = {
  running: 'green',
  paused: 'yellow',
  interrupted: 'red',
  stale: 'red',
  failed: 'red',
  completed: 'dim',
  cancelled: 'dim',
};

/** @type {import('../input.mjs').OptionDefinition} */
export const STATE = {
  flags: '--state <states>',
  about:
    'only those in these states: pending, running, paused, interrupted, stale, failed, completed, cancelled',
  parse: parseNames,
};

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'runs',
  usage: '[options]',
  summary: 'show all runs: state, progress, age, whether they can go on',
  about:
    'Shows all runs, those that changed last first: their state, how many steps are done, when something happened last, whether they can go on from a checkpoint and why not, and how large that checkpoint is. Runs that say they run while nobody is at work are marked as interrupted.',
  arguments: [],
  options: [STATE],
  examples: [
    ['waymark runs', ''],
    ['waymark runs --state interrupted,failed', 'what needs somebody'],
    ["waymark runs --json | jq '.[] | select(.resumable) | .runId'", 'for a script'],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, options }) {
  const data = await manager.runs({ states: options.state });
  return { data, text: (style) => tableOf(data, style) };
}

/**
 * @param {RunStatus[]} rows
 * @param {import('../output.mjs').Style} style
 */
export function tableOf(rows, style) {
  if (rows.length === 0) return 'no runs';
  const columns = [
    { title: 'RUN' },
    { title: 'STATE' },
    { title: 'STEPS', right: true },
    { title: 'LAST', right: true },
    { title: 'AGE', right: true },
    { title: 'SIZE', right: true },
    { title: 'RESUMABLE' },
  ];
  return table(
    columns,
    rows.map((row) => [
      row.runId,
      stateCell(row),
      row.progress ? `${row.progress.done}/${row.progress.total}` : '',
      lastStep(row),
      age(row.changedAt, style),
      row.bytes === null ? '' : size(row.bytes),
      row.resumable ? 'yes' : (row.why ?? 'no'),
    ]),
    style,
  );
}

/** @param {RunStatus} row @returns {import('../output.mjs').Cell} */
export function stateCell({ state, underWay, pauseRequest, holder }) {
  const text = [
    state,
    holder && underWay?.step !== undefined ? `step ${underWay.step}` : '',
    pauseRequest ? 'pause asked for' : '',
  ];
  return { text: text.filter(Boolean).join(', '), format: COLOURS[state] ?? 'reset' };
}

/** @param {RunStatus} row */
export function lastStep({ lastStep, currentStep, checkpoint }) {
  return `${lastStep ?? checkpoint?.step ?? currentStep ?? ''}`;
}

/** @param {number} ms */
export function long(ms) {
  return ms < 1000 ? `${ms} ms` : duration(ms);
}
