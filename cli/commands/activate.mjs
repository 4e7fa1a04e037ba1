import { ARGUMENTS, become } from '../changes.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'activate',
  usage: '<run> <checkpoint>',
  summary: 'say that a checkpoint is worked from',
  about: 'Says that a checkpoint is worked from now: created or restored becomes active.',
  arguments: ARGUMENTS,
  options: [],
  examples: [['waymark activate demo checkpoint-step-2-1767323045678', '']],
};

/** @param {import('../input.mjs').Input} input @returns {import('../input.mjs').Result} */
export function run({ manager, args }) {
  const [runId, id] = /** @type {string[]} */ (args);
  return become(runId, manager.activateSync(runId, id));
}
