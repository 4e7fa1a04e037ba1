// A question to a person at a terminal; scripts are never asked.

import { createInterface } from 'node:readline/promises';
import { plainLines } from './output.mjs';

/**
 * Whether somebody is there who can be asked.
 * @param {{ yes?: boolean, json?: boolean }} options
 * @returns {boolean}
 */
export function asks({ yes, json }) {
  return (
    yes !== true && json !== true && process.stdin.isTTY === true && process.stderr.isTTY === true
  );
}

/**
 * Says something and asks; only `y` and `yes` are one.
 * @param {string} text may have colours
 * @param {string} question
 * @returns {Promise<boolean>}
 */
export async function ask(text, question) {
  if (text !== '') process.stderr.write(`${text}\n`);
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  // The end of the input is no answer, and neither is Ctrl-C.
  const ended = new Promise((resolve) => lines.once('close', () => resolve('')));
  lines.once('SIGINT', () => lines.close());
  const answer = await Promise.race([lines.question(plainLines(`${question} [y/N] `)), ended]);
  lines.close();
  return /^\s*y(es)?\s*$/i.test(/** @type {string} */ (answer));
}
