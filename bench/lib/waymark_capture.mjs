// Waymark as the benches of files and of growing states use it: the one place to change when what
// they measure changes.

import path from 'node:path';
import { CheckpointManager } from '../../index.mjs';
import { makeRun, smallState } from './fixtures.mjs';

/**
 * Opens an empty store. All checkpoints are kept, as the peers keep all of theirs.
 * @param {string} folder what is to be captured
 * @param {string} place an empty folder; all that is kept goes below it
 * @returns {Promise<import('../peers/backup_tools.mjs').Opened>}
 */
export async function openCapture(folder, place) {
  const runs = path.join(place, 'runs');
  makeRun(runs, 'run', 20);
  const manager = new CheckpointManager({
    runsDir: runs,
    store: path.join(place, 'store'),
    keepLast: 'all',
    capture: { workspace: [folder] },
  });
  return {
    capture: async (round) => {
      const { snapshot } = await manager.create('run', round, smallState);
      if (!snapshot || snapshot.files === 0) throw new Error('nothing was captured');
    },
    stored: place,
  };
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
