// A process that works until it is killed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { expect } from '@jest/globals';
import waymark from '../../index.js';
import { repo } from './project.mjs';

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

/**
 * Kills restores of a run to a checkpoint until one is cut off after its decision; those that were done before are
 * taken back.
 * @param {string} runsDir
 * @param {string} runId
 * @param {string} checkpointId
 * @param {string} back the checkpoint of what is there
 */
export async function cutOffRestore(runsDir, runId, checkpointId, back) {
  const manager = new waymark.CheckpointManager({ runsDir });
  const journal = path.join(runsDir, runId, 'checkpoints', '.waymark', 'restore.journal');
  const script = `const { CheckpointManager } = require(${JSON.stringify(repo)});
    new CheckpointManager({ runsDir: ${JSON.stringify(runsDir)} })
      .restoreSync(${JSON.stringify(runId)}, { checkpointId: ${JSON.stringify(checkpointId)} });`;
  for (let tries = 0; tries < 20; tries += 1) {
    const child = spawn(process.execPath, ['-e', script], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const watch = setInterval(() => {
      if (fs.existsSync(journal)) child.kill('SIGKILL');
    }, 1);
    await once(child, 'exit');
    clearInterval(watch);
    if (fs.existsSync(journal)) return;
    manager.restoreSync(runId, { checkpointId: back });
  }
  throw new Error('every restore was done before it could be killed');
}

/** The checkpoints that lines tell of. @param {string[]} told @returns {string[]} */
export function createdOf(told) {
  const begin = 'created ';
  return told.filter((line) => line.startsWith(begin)).map((line) => line.slice(begin.length));
}
