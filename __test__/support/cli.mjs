// Starts the real `waymark` command, as a person or a script would.

import { spawn } from 'node:child_process';
import path from 'node:path';
import { repo } from './project.mjs';

export const main = path.join(repo, 'cli', 'waymark.js');

/**
 * @typedef {object} Ended
 * @property {number | null} code
 * @property {NodeJS.Signals | null} signal
 * @property {string} stdout
 * @property {string} stderr
 *
 * @typedef {object} Around
 * @property {string} cwd
 * @property {NodeJS.ProcessEnv} [env] added to an environment without settings of Waymark
 * @property {string} [input] standard input
 * @property {string} [script] default: cli/waymark.js
 */

/**
 * @param {string[]} words
 * @param {Around} around
 */
export function start(words, { cwd, env = {}, script = main }) {
  /** @type {NodeJS.ProcessEnv} */
  const clean = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (!/^(WAYMARK_|NODE_OPTIONS$|NO_COLOR$|FORCE_COLOR$)/.test(name)) clean[name] = value;
  }
  const child = spawn(process.execPath, [script, ...words], { cwd, env: { ...clean, ...env } });
  child.stdout.setEncoding('utf8');
  child.stderr.setEncoding('utf8');
  return child;
}

/**
 * @param {string[]} words
 * @param {Around} around
 * @returns {Promise<Ended>}
 */
export async function waymark(words, around) {
  const child = start(words, around);
  // A command that does not read its input may be gone before it was written.
  child.stdin.on('error', () => {});
  child.stdin.end(around.input ?? '');
  return ended(child);
}

/**
 * @param {import('node:child_process').ChildProcessWithoutNullStreams} child
 * @returns {Promise<Ended>}
 */
export function ended(child) {
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (text) => {
    stdout += text;
  });
  child.stderr.on('data', (text) => {
    stderr += text;
  });
  return new Promise((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}
