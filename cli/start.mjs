// Starts the command that a resume leads to, and waits for its end.

import { spawn } from 'node:child_process';
import os from 'node:os';
import { waymark } from './library.mjs';

/**
 * @param {string[]} words the program and its arguments; no shell sees them
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<number>} its exit code; 128 + the signal's number if one killed it
 */
export async function start([program, ...words], env) {
  /** @type {import('node:child_process').ChildProcess | undefined} */
  let child;
  /** @param {NodeJS.Signals} signal */
  const forward = (signal) => {
    // Ctrl-C and a closed terminal reach the child by themselves; twice would be taken for "at once".
    if (signal === 'SIGTERM' || !process.stdin.isTTY) child?.kill(signal);
  };
  /** @type {NodeJS.Signals[]} */
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  // Before the child is there: a signal in between must not leave it alone.
  for (const signal of signals) process.on(signal, forward);
  try {
    return await new Promise((resolve, reject) => {
      const started = spawn(program, words, { stdio: 'inherit', env });
      child = started;
      let running = false;
      started.once('spawn', () => {
        running = true;
      });
      started.on('error', (error) => {
        // Later errors are signals that could not be delivered.
        if (!running) reject(error);
      });
      started.once('exit', (code, signal) => {
        resolve(code ?? 128 + os.constants.signals[/** @type {NodeJS.Signals} */ (signal)]);
      });
    });
  } catch (cause) {
    throw new waymark.WaymarkError(
      'ERR_COMMAND_NOT_STARTED',
      `${JSON.stringify(program)} can't be started: ${/** @type {Error} */ (cause).message}; the run is restored: mend the command and resume again`,
      { cause, path: program },
    );
  } finally {
    for (const signal of signals) process.off(signal, forward);
  }
}
