// What is said of a checkpoint, on the command line: the options of create and update.

import { parseEach, UsageError } from './input.mjs';

/** Options that are a fact of the same name. */
const TEXTS = /** @type {const} */ ([
  ['type', 'how it came about: automatic, manual, workflow, emergency or rescue'],
  ['trigger', 'what made it due, such as phase_transition, quality_gate, risk, milestone or user'],
  ['scope', 'what it is about: framework, project, agent or workflow'],
  ['priority', 'low, normal, high or critical'],
  ['class', 'how long it is kept, at least: frequent, milestone or critical'],
  ['phase', 'the phase of the work'],
  ['task', 'the task'],
  ['worker', 'who works on it'],
  ['author', 'who asked for the checkpoint'],
  ['description', 'in words'],
]);

/** @type {import('./input.mjs').OptionDefinition[]} */
export const FACTS = [
  ...TEXTS.map(([name, about]) => ({ flags: `--${name} <text>`, about })),
  { flags: '--label <label>', about: 'a word to find it by; can be repeated', parse: parseEach },
  {
    flags: '--facts <json>',
    about: 'any facts as JSON; schema/facts.schema.json says what is allowed',
    parse: parseFacts,
  },
];

/** @param {string} text @returns {Record<string, unknown>} */
function parseFacts(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new UsageError(`--facts must be JSON, not ${JSON.stringify(text.slice(0, 80))}`);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw new UsageError('--facts must be a JSON object');
}

/**
 * What the words say; undefined if that is nothing.
 * @param {Record<string, any>} options
 * @returns {Record<string, unknown> | undefined}
 */
export function factsOf(options) {
  const facts = { ...options.facts };
  for (const [name] of TEXTS) if (options[name] !== undefined) facts[name] = options[name];
  if (options.label !== undefined) facts.labels = options.label;
  return Object.keys(facts).length === 0 ? undefined : facts;
}
