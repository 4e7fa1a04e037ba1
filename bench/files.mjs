// What capturing a folder costs, beside the least that it can cost and beside programs that keep
// versions of folders. All contenders take turns on the same folder, whose files are in the page
// cache; each ends as it does by default, synced or not, and what it left to the system is synced
// before the next one starts.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { measureLoop } from './lib/loop_watch.mjs';
import { plainLimit } from './lib/plain_limit.mjs';
import { interleave } from './lib/sampling.mjs';
import { row, sizeRow } from './lib/statistics.mjs';
import { PLANS, Tree } from './lib/trees.mjs';
import { openCapture } from './lib/waymark_capture.mjs';
import { backupTools } from './peers/backup_tools.mjs';

/**
 * @typedef {import('./lib/statistics.mjs').Row} Row
 * @typedef {import('./lib/statistics.mjs').Gap} Gap
 * @typedef {import('./peers/backup_tools.mjs').Tool} Tool
 * @typedef {import('./peers/backup_tools.mjs').Opened} Opened
 * @typedef {{ scale: number }} Options
 */

const [PLAIN, WAYMARK] = ['plain limit', 'waymark'];

/**
 * Files of a project: text and a few large ones.
 * @param {string} folder
 * @param {Options} options
 * @returns {Promise<(Row | Gap)[]>}
 */
export async function benchFiles(folder, { scale }) {
  const tree = new Tree(path.join(folder, 'tree'), PLANS.mixed, scale);
  const race = await Race.between('files', tree, folder);
  return [
    ...(await race.first(3)),
    ...(await race.again('unchanged', { rounds: 10, warmUp: 1 })),
    ...(await race.again('changed', { rounds: 10, warmUp: 1 }, (round) => tree.change(round))),
    ...race.gaps,
    ...(await eventLoop(tree, folder)),
  ];
}

/**
 * Very many small files.
 * @param {string} folder
 * @param {Options} options
 * @returns {Promise<(Row | Gap)[]>}
 */
export async function benchManyFiles(folder, { scale }) {
  const tree = new Tree(path.join(folder, 'tree'), PLANS.many, scale);
  // The others take minutes here, and git is the one to beat.
  const race = await Race.between('many_files', tree, folder, (name) => name.startsWith('git'));
  return [
    ...(await race.first(2)),
    ...(await race.again('unchanged', { rounds: 5, warmUp: 1 })),
    ...race.gaps,
    memory('many_files', tree, folder),
  ];
}

/** @param {Tree} tree */
function describe(tree) {
  return `${tree.files.toLocaleString('en')} files, ${Math.round(tree.bytes / 1e6)} MB`;
}

/**
 * Brings everything to the disk that was written before.
 * @param {string} folder
 */
export function settle(folder) {
  // Where there is no such program, what one leaves to the system may be paid for by the next.
  spawnSync('sync', process.platform === 'linux' ? ['-f', folder] : []);
}

/**
 * The bytes of all files below a folder.
 * @param {string} folder
 * @param {readonly string[]} except files of these names
 * @returns {number}
 */
export function bytesBelow(folder, except = []) {
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !except.includes(entry.name))
    .reduce((sum, entry) => sum + fs.statSync(path.join(entry.parentPath, entry.name)).size, 0);
}

/**
 * An empty folder, whatever was there.
 * @param {string} place
 */
function empty(place) {
  fs.rmSync(place, { recursive: true, force: true });
  fs.mkdirSync(place, { recursive: true });
}

/** Contenders that capture the same tree in turn, each into a repository of its own. */
class Race {
  /** @type {Record<string, Tool>} */
  #tools = {};
  /** @type {Record<string, Opened>} */
  #opened = {};
  #title;
  #changedFor = -1;
  /** @type {Gap[]} */
  gaps = [];

  /** @param {string} group @param {Tree} tree @param {string} folder */
  constructor(group, tree, folder) {
    this.group = group;
    this.tree = tree;
    this.folder = folder;
    this.#title = describe(tree);
  }

  /**
   * @param {string} group
   * @param {Tree} tree
   * @param {string} folder where the repositories go
   * @param {(name: string) => boolean} wanted which peers take part
   */
  static async between(group, tree, folder, wanted = () => true) {
    const race = new Race(group, tree, folder);
    const plain = plainLimit();
    if ('missing' in plain) race.#miss(PLAIN, plain.missing);
    else race.#tools[PLAIN] = plain;
    /** @type {Tool} */
    const waymark = {
      name: 'Waymark, synced',
      open: ({ folder }, place) => openCapture(folder, place),
    };
    race.#tools[WAYMARK] = waymark;
    const { tools, absent } = backupTools();
    for (const tool of tools.filter(({ name }) => wanted(name))) race.#tools[tool.name] = tool;
    for (const program of absent.filter(wanted)) race.#miss(program, 'not on the PATH');
    settle(folder);
    return race;
  }

  /** @param {string} contender @param {string} missing */
  #miss(contender, missing) {
    this.gaps.push({ group: this.group, name: `${this.#title}: ${contender}`, missing });
  }

  /**
   * Captures into fresh repositories.
   * @param {number} rounds
   */
  async first(rounds) {
    const bytes = this.#lists();
    const samples = await interleave(
      this.#contenders((name) => ({
        before: async () => {
          await this.#opened[name]?.close?.();
          const place = path.join(this.folder, name.replaceAll(/\W+/g, '-'));
          empty(place);
          this.#opened[name] = await this.#tools[name].open(this.tree, place);
          settle(this.folder);
        },
        after: () => {
          settle(this.folder);
          bytes[name].push(bytesBelow(this.#opened[name].stored));
        },
      })),
      { rounds, warmUp: 0 },
    );
    return [
      ...this.#rows('first capture', row, samples),
      ...this.#rows('bytes stored by it', sizeRow, bytes),
    ];
  }

  /**
   * Captures once more into the repositories that hold the tree.
   * @param {string} what
   * @param {{ rounds: number, warmUp: number }} plan
   * @param {(round: number) => void} [change] the tree, before each round
   */
  async again(what, plan, change) {
    const bytes = this.#lists();
    /** @type {Record<string, number>} */
    const held = {};
    const samples = await interleave(
      this.#contenders((name) => ({
        before: (round) => {
          held[name] = bytesBelow(this.#opened[name].stored);
          if (change === undefined || this.#changedFor === round) return;
          change(round);
          settle(this.folder);
          this.#changedFor = round;
        },
        after: () => {
          settle(this.folder);
          bytes[name].push(bytesBelow(this.#opened[name].stored) - held[name]);
        },
      })),
      plan,
    );
    return [
      ...this.#rows(what, row, samples),
      ...(change ? this.#rows(`bytes added by ${what}`, sizeRow, bytes) : []),
    ];
  }

  /** @returns {Record<string, number[]>} */
  #lists() {
    return Object.fromEntries(Object.keys(this.#tools).map((name) => [name, []]));
  }

  /** @param {(name: string) => Omit<import('./lib/sampling.mjs').Contender, 'run'>} around */
  #contenders(around) {
    return Object.fromEntries(
      Object.keys(this.#tools).map((name) => [
        name,
        {
          ...around(name),
          run: (/** @type {number} */ round) => this.#opened[name].capture(round),
        },
      ]),
    );
  }

  /**
   * Waymark is held against the plain limit, the others against Waymark.
   * @param {string} what
   * @param {typeof row | typeof sizeRow} make
   * @param {Record<string, number[]>} samples
   */
  #rows(what, make, samples) {
    return Object.entries(this.#tools).map(([name, tool]) => {
      const base = [name === WAYMARK ? PLAIN : WAYMARK, PLAIN].find((one) => one in samples);
      const about =
        name === PLAIN || base === undefined ? {} : { base: samples[base], baseName: base };
      return make(this.group, `${this.#title}, ${what}: ${tool.name}`, samples[name], about);
    });
  }
}

/**
 * How long asynchronous captures keep the event loop from turning.
 * @param {Tree} tree
 * @param {string} folder
 * @returns {Promise<(Row | Gap)[]>}
 */
async function eventLoop(tree, folder) {
  const place = path.join(folder, 'loop');
  /** @type {Opened | undefined} */
  let opened;
  let step = 0;
  let took = 80;
  const capture = async () => {
    const from = performance.now();
    step += 1;
    await opened?.capture(step);
    took = Math.max(took, performance.now() - from);
  };
  const fresh = async () => {
    await opened?.close?.();
    empty(place);
    opened = await openCapture(tree.folder, place);
    settle(folder);
  };
  try {
    return await measureLoop(
      {
        'nothing, for as long as a capture of files': {
          run: () => new Promise((resolve) => setTimeout(resolve, took)),
        },
        'create with a first capture of files': { before: fresh, run: capture },
        'create with a capture of unchanged files': { run: capture },
      },
      { rounds: 5, warmUp: 1 },
    );
  } finally {
    await opened?.close?.();
  }
}

/**
 * The memory of a process that does nothing but a first capture.
 * @param {string} group
 * @param {Tree} tree
 * @param {string} folder
 * @returns {Row | Gap}
 */
function memory(group, tree, folder) {
  const name = `${describe(tree)}, first capture: most memory of a process with Waymark`;
  const place = path.join(folder, 'peak');
  empty(place);
  const program = fileURLToPath(new URL('lib/peak.mjs', import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, tree.folder, place], {
    encoding: 'utf8',
  });
  if (status !== 0) {
    if (stderr.includes('not built yet')) return { group, name, missing: 'not built yet' };
    throw new Error(`${program}: ${stderr}`);
  }
  const { idle, peak } = JSON.parse(stdout);
  return sizeRow(group, name, [peak], { base: [idle], baseName: 'idle' });
}
