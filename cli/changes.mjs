// How the commands that change what is said of a checkpoint tell what it has become.

import { factList } from './output.mjs';

/** @type {import('./input.mjs').Definition['arguments']} */
export const ARGUMENTS = [
  ['run', "the run's id"],
  ['checkpoint', "the checkpoint's id, from waymark list"],
];

/**
 * @param {string} runId
 * @param {import('../index.js').ChangedCheckpoint} changed
 * @returns {import('./input.mjs').Result}
 */
export function become(runId, changed) {
  return {
    data: { runId, ...changed },
    text: (style) =>
      [style.paint('bold', changed.checkpointId), factList(lifeFacts(changed), style)].join('\n'),
  };
}

/**
 * What happened to a checkpoint since it was taken, and what is said of it.
 * @param {Pick<import('../index.js').ChangedCheckpoint, 'state' | 'stateAt' | 'facts' | 'failure' | 'pin' | 'forks'>} one
 * @returns {[string, string][]}
 */
export function lifeFacts({ state, stateAt, facts, failure, pin, forks }) {
  /** @type {[string, string][]} */
  const rows = [['state', stateAt === undefined ? state : `${state} (since ${stateAt})`]];
  if (failure) {
    const { name, code, message } = failure;
    const what = [name, code, message].filter((part) => part !== undefined).join(': ');
    rows.push(['failure', what === '' ? 'not said' : what]);
  }
  if (pin) rows.push(['pinned', pin.until ? `${pin.reason} (until ${pin.until})` : pin.reason]);
  if (forks) rows.push(['forks', forks.map(({ run }) => run).join(', ')]);
  for (const [name, value] of Object.entries(facts ?? {})) {
    rows.push([name, text(value)]);
  }
  return rows;
}

/** @param {unknown} value */
function text(value) {
  if (typeof value === 'string') return value;
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) {
    return value.join(', ');
  }
  return JSON.stringify(value);
}
