// What putting files back costs: into an empty folder, and over a folder where a hundredth was edited,
// added or removed. Beside it git, which neither rescues, journals, syncs nor verifies.

import fs from 'node:fs';
import path from 'node:path';
import { CheckpointManager } from '../index.mjs';
import { settle } from './files.mjs';
import { makeRun, smallState } from './lib/fixtures.mjs';
import { interleave } from './lib/sampling.mjs';
import { row } from './lib/statistics.mjs';
import { PLANS, Tree } from './lib/trees.mjs';
import { run } from './peers/backup_tools.mjs';

/** @typedef {import('./lib/statistics.mjs').Row} Row */

const [GIT, WAYMARK] = ['git', 'waymark'];

/** The share of the files that is edited, and again that is added and removed, in hundredths. */
const SHARE = { edited: 0.006, added: 0.002, removed: 0.002 };

/**
 * A folder of its own with the same files, and what puts it back.
 * @typedef {object} Place
 * @property {string} folder
 * @property {() => unknown} restore timed
 * @property {() => void} [tidy] not timed, before each round
 */

/**
 * @param {string} folder
 * @param {{ scale: number }} options
 * @returns {Promise<Row[]>}
 */
export async function benchRestore(folder, { scale }) {
  const { places, files, bytes } = await openAll(folder, scale);
  const title = `${files.toLocaleString('en')} files, ${Math.round(bytes / 1e6)} MB`;
  const emptied = await race(places, 5, folder, (place, round) => {
    // Moved away, not deleted: ext4 passes over inodes that were freed in the last minutes, one by one, at
    // each file that is made, and that would be measured instead (fs/ext4/ialloc.c, recently_deleted).
    const aside = `${place.folder}-before-${round}`;
    fs.mkdirSync(aside);
    for (const name of fs.readdirSync(place.folder)) {
      if (name !== '.git') fs.renameSync(path.join(place.folder, name), path.join(aside, name));
    }
  });
  const edited = await race(places, 10, folder, (place, round) => disturb(place.folder, round));
  return [
    ...rows(`${title}, restored into an empty folder`, emptied, 1),
    ...rows(`${title}, restored after 1 % was edited, added or removed`, edited, 1.5),
  ];
}

/** @param {string} what @param {Record<string, number[]>} samples @param {number} bound */
function rows(what, samples, bound) {
  return [
    row('restore', `${what}: git, not synced`, samples[GIT], {}),
    row('restore', `${what}: Waymark, rescued, synced, verified`, samples[WAYMARK], {
      base: samples[GIT],
      baseName: GIT,
      bound,
    }),
  ];
}

/**
 * @param {Record<string, Place>} places
 * @param {number} rounds
 * @param {string} folder
 * @param {(place: Place, round: number) => void} before
 */
function race(places, rounds, folder, before) {
  const contenders = Object.entries(places).map(([name, place]) => [
    name,
    {
      before: (/** @type {number} */ round) => {
        place.tidy?.();
        before(place, round);
        settle(folder);
      },
      run: place.restore,
    },
  ]);
  return interleave(Object.fromEntries(contenders), { rounds, warmUp: 1 });
}

/**
 * @param {string} folder
 * @param {number} scale
 * @returns {Promise<{ places: Record<string, Place>, files: number, bytes: number }>}
 */
async function openAll(folder, scale) {
  const ours = new Tree(path.join(folder, 'ours'), PLANS.mixed, scale);
  const runs = path.join(folder, 'runs');
  makeRun(runs, 'run', 20);
  const manager = new CheckpointManager({
    runsDir: runs,
    store: path.join(folder, 'store'),
    keepLast: 'all',
    capture: { workspace: [ours.folder] },
  });
  const { checkpointId } = await manager.create('run', 1, smallState);
  // What was added belongs to the run as well, and may go.
  disturb(ours.folder, -1);
  await manager.create('run', 2, smallState);
  const restore = async () => {
    await manager.restore('run', { checkpointId, onConflict: 'overwrite' });
  };
  await restore();
  const places = {
    [GIT]: gitPlace(folder, scale),
    [WAYMARK]: { folder: ours.folder, restore },
  };
  return { places, files: ours.files, bytes: ours.bytes };
}

/**
 * A folder whose files are git's, in one pack, as after its clean-up: that is its fastest. It must not begin to clean
 * up by itself in the middle of a round.
 * @param {string} folder
 * @param {number} scale
 * @returns {Place}
 */
function gitPlace(folder, scale) {
  const env = { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' };
  const quiet = [
    '-c',
    'gc.auto=0',
    '-c',
    'maintenance.auto=false',
    '-c',
    'init.defaultBranch=main',
  ];
  const who = ['-c', 'user.name=bench', '-c', 'user.email=bench@localhost'];
  const loose = new Tree(path.join(folder, 'git-loose'), PLANS.mixed, scale);
  const words = [...quiet, '-C', loose.folder];
  run('git', [...words, 'init', '--quiet'], env);
  run('git', [...words, 'add', '-A'], env);
  run('git', [...words, ...who, 'commit', '--quiet', '-m', 'bench'], env);
  const place = path.join(folder, 'git');
  run('git', [...quiet, 'clone', '--quiet', '--no-local', loose.folder, place], env);
  const packed = [...quiet, '-C', place];
  return {
    folder: place,
    restore: () => run('git', [...packed, 'reset', '--hard', '--quiet'], env),
    // A reset leaves what was added, which Waymark takes away.
    tidy: () => run('git', [...packed, 'clean', '-fdq'], env),
  };
}

/**
 * Edits, adds and removes a hundredth of the files. What is added has the same names each time.
 * @param {string} folder
 * @param {number} round
 */
function disturb(folder, round) {
  const files = fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes('.git'))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort();
  const every = (/** @type {number} */ share) => Math.round(1 / share);
  files.forEach((file, at) => {
    if ((at + round) % every(SHARE.edited) === 0) fs.appendFileSync(file, `edited ${round}\n`);
    else if ((at + round) % every(SHARE.removed) === 1) fs.rmSync(file);
    if (at % every(SHARE.added) === 2) fs.writeFileSync(`${file}.added`, `added ${at}\n`);
  });
}
