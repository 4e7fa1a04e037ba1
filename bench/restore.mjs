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
 * @property {Tree} tree
 * @property {() => unknown} restore timed
 * @property {() => void} [tidy] not timed, before each round
 */

/**
 * @param {string} folder
 * @param {{ scale: number }} options
 * @returns {Promise<Row[]>}
 */
export async function benchRestore(folder, { scale }) {
  const places = await openAll(folder, scale);
  const { files, bytes } = places[GIT].tree;
  const title = `${files.toLocaleString('en')} files, ${Math.round(bytes / 1e6)} MB`;
  const emptied = await race(places, 5, folder, ({ tree }) => {
    for (const name of fs.readdirSync(tree.folder)) {
      if (name !== '.git') fs.rmSync(path.join(tree.folder, name), { recursive: true });
    }
  });
  const edited = await race(places, 10, folder, ({ tree }, round) => disturb(tree.folder, round));
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
 * @returns {Promise<Record<string, Place>>}
 */
async function openAll(folder, scale) {
  const git = new Tree(path.join(folder, 'git'), PLANS.mixed, scale);
  const env = { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' };
  const who = ['-c', 'user.name=bench', '-c', 'user.email=bench@localhost'];
  const words = ['-C', git.folder];
  run('git', ['-c', 'init.defaultBranch=main', ...words, 'init', '--quiet'], env);
  run('git', [...words, 'add', '-A'], env);
  run('git', [...words, ...who, 'commit', '--quiet', '-m', 'bench'], env);

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
  return {
    [GIT]: {
      tree: git,
      restore: () => run('git', [...words, 'reset', '--hard', '--quiet'], env),
      // A reset leaves what was added, which Waymark takes away.
      tidy: () => run('git', [...words, 'clean', '-fdq'], env),
    },
    [WAYMARK]: { tree: ours, restore },
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
