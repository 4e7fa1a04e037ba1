import { ARGUMENTS, become } from '../changes.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'pin',
  usage: '<run> <checkpoint> --reason <text> [options]',
  summary: 'keep a checkpoint whatever the policy says',
  about:
    'Keeps a checkpoint whatever the retention policy says, until a time or until waymark unpin.',
  arguments: ARGUMENTS,
  options: [
    { flags: '--reason <text>', about: 'why it must stay', required: true },
    { flags: '--until <time>', about: 'until when, as ISO 8601 (default: for ever)' },
  ],
  examples: [
    ["waymark pin demo checkpoint-step-2-1767323045678 --reason 'evidence for the audit'", ''],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {import('../input.mjs').Result} */
export function run({ manager, args, options }) {
  const [runId, id] = /** @type {string[]} */ (args);
  return become(
    runId,
    manager.pinSync(runId, id, { reason: options.reason, until: options.until }),
  );
}
