// Where the run's git worktree stands: asked of the core, which reads the repository itself.

const fs = require('node:fs');
const path = require('node:path');
const { nowMs } = require('../clock.js');
const { WaymarkError } = require('../error.js');
const { native } = require('../native.js');
const { realPath } = require('../real-path.js');

/**
 * @typedef {import('../fingerprint.js').Context} Context
 */

/** So many dirty paths are named. */
const LIMIT = 200;
/** So much of the time may go into looking for what is dirty. */
const SHARE = 0.8;

/** @param {Context} context @returns {string} */
function folderOf({ declared, root }) {
  return path.resolve(root, typeof declared.worktree === 'string' ? declared.worktree : '.');
}

/** @param {any} reply @returns {any} */
function unwrap(reply) {
  if (reply?.failed === true) throw WaymarkError.from(reply);
  return reply;
}

/**
 * What changes with every step is no drift: the runs, and the store.
 * @param {Context} context
 */
function request({ timeoutMs, root, runsDir, storeDir }) {
  const without = [runsDir, storeDir ?? path.join(root, '.waymark')];
  // Where the worktree stands is known before the limit of all of it, however long its files take.
  return { limit: LIMIT, timeoutMs: Math.ceil(timeoutMs * SHARE), without };
}

/** @param {any} facts as the core tells them */
function inWorktree(facts) {
  // A bare repository has no worktree.
  if (!facts?.worktree) return null;
  return { ...facts, branch: facts.branch ?? null, head: facts.head ?? null };
}

/** So long a folder without git counts as that, in milliseconds: a process may take many checkpoints. */
const FRESH_MS = 1_000;

/** The folder that had no git last. */
let bare = { folder: '', at: Number.NEGATIVE_INFINITY };

/** @param {Context} context @returns {string | undefined} the folder to ask about */
function asked(context) {
  if (context.declared.worktree === false) return undefined;
  const folder = folderOf(context);
  const isBare = bare.folder === folder && nowMs() - bare.at < FRESH_MS;
  return isBare ? undefined : folder;
}

/** @param {any} facts @param {Context} context @param {string} folder */
function told(facts, context, folder) {
  if (facts === null) bare = { folder, at: nowMs() };
  return withFolder(inWorktree(facts), context, folder);
}

/** @type {import('../fingerprint.js').Collector} */
const git = {
  name: 'git',
  collect(context) {
    const folder = asked(context);
    if (folder === undefined) return null;
    const facts = native().gitFacts(context.place, folder, request(context));
    return facts.then((reply) => told(unwrap(reply), context, folder));
  },
  collectSync(context) {
    const folder = asked(context);
    if (folder === undefined) return null;
    return told(
      unwrap(native().gitFactsSync(context.place, folder, request(context))),
      context,
      folder,
    );
  },
  async look(context, then) {
    const folder = lookedAt(then, context);
    const repository = repositoryOf(then, context);
    const isThere = fs.existsSync(folder);
    const since = COMMIT.test(then.head) ? then.head : undefined;
    const facts = isThere
      ? unwrap(await native().gitFacts(context.place, folder, { ...request(context), since }))
      : null;
    const { moved, ...found } = inWorktree(facts) ?? {};
    const branchThere =
      then.branch === null || repository === undefined || then.unborn === true
        ? undefined
        : await isBranch(repository, then.branch);
    // A folder inside of another worktree is not the one that was.
    const isSame =
      found.worktree !== undefined && (then.inner !== '' || samePath(found.worktree, folder));
    if (!isSame) return { gone: isThere ? 'not_git' : 'missing', branchThere };
    const now = withFolder(found, context, folder);
    if (then.head === found.head) return { ...now, branchThere };
    return { ...now, branchThere, moved: howMoved(then.head, found.head, moved) };
  },
};

/**
 * The folder, or its worktree where only the folder is not in it any more: what is checked out says why.
 * @param {any} then
 * @param {Context} context
 * @returns {string}
 */
function lookedAt(then, { root }) {
  const folder = path.resolve(root, then.folder);
  if (then.inner === '' || fs.existsSync(folder)) return folder;
  return fs.existsSync(then.worktree) ? then.worktree : folder;
}

/** @param {string} one @param {string} other */
function samePath(one, other) {
  return realPath(one) === realPath(other);
}

/**
 * @param {any} facts
 * @param {Context} context
 * @param {string} folder
 */
function withFolder(facts, { root }, folder) {
  if (!facts) return null;
  const relative = path.relative(root, folder);
  // A project that was moved as a whole finds its worktrees beside it.
  return { folder: relative === '' ? '.' : relative, inner: innerOf(facts, folder), ...facts };
}

/** @param {any} facts @param {string} folder @returns {string} where the folder lies in its worktree */
function innerOf(facts, folder) {
  return samePath(facts.worktree, folder) ? '' : path.relative(facts.worktree, folder);
}

/**
 * A folder of the repository that is still there, to ask it about branches.
 * @param {any} then
 * @param {Context} context
 * @returns {string | undefined}
 */
function repositoryOf(then, { root }) {
  const common = typeof then.commonDir === 'string' ? then.commonDir : root;
  // The main worktree; a bare repository has none.
  const main = path.basename(common) === '.git' ? path.dirname(common) : common;
  if (fs.existsSync(common)) return main;
  // A project that was moved as a whole.
  return [path.resolve(root, then.folder), root].find((folder) => fs.existsSync(folder));
}

/**
 * @param {string} repository
 * @param {string} branch
 * @returns {Promise<boolean | undefined>} undefined if it can't be told
 */
async function isBranch(repository, branch) {
  try {
    return unwrap(await native().gitBranchExists(repository, branch));
  } catch {
    // Where there is no repository any more, its worktree says so.
    return undefined;
  }
}

/** The id of a commit, in full. */
const COMMIT = /^([0-9a-f]{40}|[0-9a-f]{64})$/;

/**
 * @param {string | null} from
 * @param {string | null} to
 * @param {string | undefined} moved as the core says it
 * @returns {'ahead' | 'behind' | 'diverged' | 'unknown'}
 */
function howMoved(from, to, moved) {
  if (!from) return 'ahead';
  if (!to) return 'diverged';
  if (moved === 'forward') return 'ahead';
  if (moved === 'back') return 'behind';
  // The old commit may be gone for good.
  return moved === 'diverged' ? 'diverged' : 'unknown';
}

module.exports = { git, repositoryOf };
