// Waymark as the benches of files and of growing states use it: the one place to change when what
// they measure changes.

import { CheckpointManager } from '../../index.mjs';
import { makeRun } from './fixtures.mjs';

/** How many steps of the growing state are taken, and how many are meant to be. */
export const STATE_STEPS = { taken: 100, of: 1000 };

/** Thrown for what there is no code for yet. */
export class NotBuilt extends Error {}

/**
 * Opens an empty store.
 *
 * To be filled in with `makeRun`, a `CheckpointManager` on `place`, and a capture that is
 * `manager.create('run', step, smallState, { capture: … folder … })`.
 *
 * @param {string} folder what is to be captured
 * @param {string} place an empty folder; all that is kept goes below it
 * @returns {Promise<import('../peers/backup_tools.mjs').Opened>}
 */
export async function openCapture(folder, place) {
  throw new NotBuilt(`not built yet: the capture of ${folder} to ${place}`);
}

/**
 * Opens a run whose checkpoints are all kept.
 * @param {string} place an empty folder; all that is kept goes below it
 * @returns {Promise<(step: number, state: object) => Promise<unknown>>}
 */
export async function openStates(place) {
  const manager = new CheckpointManager({ runsDir: place });
  makeRun(place, 'run', 20);
  return (step, state) => manager.create('run', step, state, { keepLast: 'all' });
}
