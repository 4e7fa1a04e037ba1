// Programs that keep versions of a folder, as far as they are on the PATH: none is a dependency of
// this package. Each runs with its own defaults, in repositories and caches of the bench.

import { spawnSync } from 'node:child_process';
import path from 'node:path';

/**
 * A repository that takes captures of one folder.
 * @typedef {object} Opened
 * @property {(round: number) => unknown} capture timed, to the end of its promise if it gives one
 * @property {string} stored the folder whose bytes count
 * @property {() => void | Promise<void>} [close]
 */

/**
 * @typedef {object} Tool
 * @property {string} name
 * @property {(tree: { folder: string, since: number }, place: string) => Opened | Promise<Opened>}
 * open makes a repository in an empty folder
 */

/**
 * Runs a program to its end.
 * @param {string} program
 * @param {string[]} words
 * @param {Record<string, string>} [env]
 */
export function run(program, words, env = {}) {
  const { status, stderr, error } = spawnSync(program, words, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${program} ${words.join(' ')}: ${error ?? stderr}`);
}

/**
 * @param {string} name
 * @param {string[]} settings
 * @returns {Tool}
 */
function git(name, settings) {
  return {
    name,
    open({ folder }, place) {
      const stored = path.join(place, 'git');
      const env = {
        GIT_CONFIG_GLOBAL: '/dev/null',
        GIT_CONFIG_NOSYSTEM: '1',
        GIT_INDEX_FILE: path.join(stored, 'index'),
      };
      const words = [`--git-dir=${stored}`, `--work-tree=${folder}`];
      run('git', ['-c', 'init.defaultBranch=main', `--git-dir=${stored}`, 'init', '--quiet'], env);
      for (const setting of settings) words.push('-c', setting);
      return {
        stored,
        capture() {
          run('git', [...words, 'add', '-A'], env);
          run('git', [...words, 'write-tree'], env);
        },
      };
    },
  };
}

/** @type {Tool} */
const restic = {
  name: 'restic, synced',
  open({ folder }, place) {
    const stored = path.join(place, 'restic');
    const env = {
      RESTIC_REPOSITORY: stored,
      RESTIC_PASSWORD: 'bench',
      RESTIC_CACHE_DIR: path.join(place, 'cache'),
    };
    run('restic', ['init', '--quiet'], env);
    return { stored, capture: () => run('restic', ['backup', '--quiet', folder], env) };
  },
};

/** @type {Tool} */
const borg = {
  name: 'borg, not encrypted, synced',
  open({ folder }, place) {
    const stored = path.join(place, 'borg');
    const env = {
      BORG_REPO: stored,
      BORG_BASE_DIR: path.join(place, 'base'),
      BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
    };
    run('borg', ['init', '--encryption=none'], env);
    let count = 0;
    return {
      stored,
      capture() {
        count += 1;
        run('borg', ['create', `::capture-${count}`, folder], env);
      },
    };
  },
};

/** @type {Tool} */
const rustic = {
  name: 'rustic, synced',
  open({ folder }, place) {
    const stored = path.join(place, 'rustic');
    const env = {
      RUSTIC_REPOSITORY: stored,
      RUSTIC_PASSWORD: 'bench',
      RUSTIC_CACHE_DIR: path.join(place, 'cache'),
      RUSTIC_NO_PROGRESS: 'true',
    };
    run('rustic', ['init'], env);
    return { stored, capture: () => run('rustic', ['backup', folder], env) };
  },
};

/** @type {Record<string, { version: string, tools: Tool[] }>} */
const PROGRAMS = {
  git: {
    version: '--version',
    tools: [
      git('git add + write-tree, not synced', []),
      git('git, core.compression=0, not synced', ['core.compression=0']),
    ],
  },
  restic: { version: 'version', tools: [restic] },
  borg: { version: '--version', tools: [borg] },
  rustic: { version: '--version', tools: [rustic] },
};

/**
 * What of it is here.
 * @returns {{ tools: Tool[], absent: string[], versions: string[] }}
 */
export function backupTools() {
  /** @type {ReturnType<typeof backupTools>} */
  const found = { tools: [], absent: [], versions: [] };
  for (const [program, { version, tools }] of Object.entries(PROGRAMS)) {
    const { status, stdout } = spawnSync(program, [version], { encoding: 'utf8' });
    if (status === 0) {
      found.tools.push(...tools);
      found.versions.push(`${program} ${/\d+(\.\d+)+/.exec(stdout)?.[0] ?? 'of unknown version'}`);
    } else found.absent.push(program);
  }
  return found;
}
