// A process that works until it is killed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { expect } from '@jest/globals';

/**
 * Lets a script work and kills it with -9 some time after it said `ready`. It must not have complained.
 * @param {string} script
 * @param {string[]} words
 * @param {number} delayMs
 * @returns {Promise<string[]>} the lines that it told
 */
export async function killed(script, words, delayMs) {
  const child = spawn(process.execPath, [script, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  /** @type {string[]} */
  const told = [];
  let errors = '';
  child.stderr.on('data', (data) => {
    errors += data;
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    told.push(line);
    if (line === 'ready') setTimeout(() => child.kill('SIGKILL'), delayMs);
  });
  const [, signal] = await once(child, 'close');
  expect(errors).toBe('');
  expect(signal).toBe('SIGKILL');
  return told;
}

/** The checkpoints that lines tell of. @param {string[]} told @returns {string[]} */
export function createdOf(told) {
  const begin = 'created ';
  return told.filter((line) => line.startsWith(begin)).map((line) => line.slice(begin.length));
}
