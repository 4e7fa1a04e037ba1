import { existingRun } from '../input.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'decide',
  usage: '<run> <decision> [options]',
  summary: 'decide what becomes of a step that failed',
  about:
    'Answers the question that a run waits for: retry, skip, reassign (with --worker), decompose or abort. A supervisor that waits goes on at once; else the next "waymark run --resume" does. "waymark failures <run>" shows the question.',
  arguments: [
    ['run', "the run's id"],
    ['decision', 'retry, skip, reassign, decompose or abort'],
  ],
  options: [
    { flags: '--worker <worker>', about: 'of reassign: to whom' },
    { flags: '--note <text>', about: 'why; it is kept' },
    { flags: '--failure <id>', about: 'only if the question is about this failure' },
    { flags: '--by <name>', about: 'who decides (default: the user)' },
  ],
  examples: [
    ['waymark decide r1 retry --note "the service is back"', ''],
    ['waymark decide r1 reassign --worker large', ''],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {Promise<import('../input.mjs').Result>} */
export async function run({ manager, args, options: { worker, note, failure, by } }) {
  const [runId, decision] = /** @type {string[]} */ (args);
  const recovery = /** @type {any} */ (manager.recovery(runId));
  await existingRun(manager, runId);
  const given = { decision, worker, note, failureId: failure, by };
  const answer = await recovery.decideVia(given, 'cli');
  return {
    data: answer,
    text: () => `run ${runId}: ${answer.decision}${worker ? ` (${worker})` : ''}, by ${answer.by}`,
  };
}
