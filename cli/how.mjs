// How files are put back: the options of restore, undo and resume. Apart from the commands, so that a resume does not wait
// for what asks people and draws progress.

import { choiceOf } from './input.mjs';

const POLICIES = ['refuse', 'keep-both', 'overwrite', 'merge'];

/** @type {import('./input.mjs').OptionDefinition[]} */
export const HOW = [
  {
    flags: '--on-conflict <policy>',
    about: `what becomes of files changed since the newest checkpoint: ${POLICIES.join(', ')} (default: refuse in the workspace, else overwrite)`,
    parse: (text) => choiceOf('--on-conflict', POLICIES, text),
  },
  { flags: '--state-only', about: 'leave captured files alone' },
  { flags: '--yes', about: 'do not ask on a terminal' },
];
