// Where the run's git worktree stands: asked of the core, which reads the repository itself.

const fs = require('node:fs');
const path = require('node:path');
const { WaymarkError } = require('../error.js');
const { native } = require('../native.js');

/**
 * @typedef {import('../fingerprint.js').Context} Context
 */

/** So many dirty paths are named. */
const LIMIT = 200;

/** @param {Context} context @returns {string} */
function folderOf({ declared, root }) {
  return path.resolve(root, typeof declared.worktree === 'string' ? declared.worktree : '.');
}

/** @param {any} reply @returns {any} */
function unwrap(reply) {
  if (reply?.failed === true) throw WaymarkError.from(reply);
  return reply;
}

/** @param {Context} context */
function request({ timeoutMs }) {
  return { limit: LIMIT, timeoutMs };
}

/**
 * What changes with every step is no drift: the runs, and the store.
 * @param {any} facts
 * @param {Context} context
 */
function withoutOurs(facts, { root, runsDir, storeDir }) {
  // A bare repository has no worktree.
  if (!facts?.worktree) return null;
  const ours = [runsDir, storeDir ?? path.join(root, '.waymark')].flatMap((own) => [
    own,
    real(own),
  ]);
  /** @param {{ path: string }} one */
  const isOurs = ({ path: name }) => {
    const file = path.join(facts.worktree, name);
    return ours.some(
      (own) => file === own || file.startsWith(own + path.sep) || isAbove(file, own, name),
    );
  };
  const dirty = facts.dirty.filter((/** @type {any} */ one) => !isOurs(one));
  const dirtyCount = facts.dirtyCount - (facts.dirty.length - dirty.length);
  return { ...facts, branch: facts.branch ?? null, head: facts.head ?? null, dirty, dirtyCount };
}

/**
 * A folder that is not tracked is told by its name alone, whatever is in it.
 * @param {string} file
 * @param {string} own
 * @param {string} name
 */
function isAbove(file, own, name) {
  const folder = name.endsWith('/') ? file.slice(0, -1) : file;
  return own.startsWith(folder + path.sep);
}

/** So long a folder without git counts as that, in milliseconds: a process may take many checkpoints. */
const FRESH_MS = 1_000;

/** The folder that had no git last. */
let bare = { folder: '', at: Number.NEGATIVE_INFINITY };

/** @param {Context} context @returns {string | undefined} the folder to ask about */
function asked(context) {
  if (context.declared.worktree === false) return undefined;
  const folder = folderOf(context);
  const isBare = bare.folder === folder && performance.now() - bare.at < FRESH_MS;
  return isBare ? undefined : folder;
}

/** @param {any} facts @param {Context} context @param {string} folder */
function told(facts, context, folder) {
  if (facts === null) bare = { folder, at: performance.now() };
  return withFolder(withoutOurs(facts, context), context, folder);
}

/** @type {import('../fingerprint.js').Collector} */
const git = {
  name: 'git',
  async collect(context) {
    const folder = asked(context);
    if (folder === undefined) return null;
    return told(
      unwrap(await native().gitFacts(context.place, folder, request(context))),
      context,
      folder,
    );
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
    const folder = path.resolve(context.root, then.folder);
    const repository = repositoryOf(then, context);
    const isThere = fs.existsSync(folder);
    const facts = isThere
      ? unwrap(await native().gitFacts(context.place, folder, request(context)))
      : null;
    const found = withoutOurs(facts, context);
    const branchThere =
      then.branch === null || repository === undefined || then.unborn === true
        ? undefined
        : await isBranch(repository, then.branch);
    // A folder inside of another worktree is not the one that was.
    const isSame = found && (then.inner !== '' || samePath(found.worktree, folder));
    if (!isSame) return { gone: isThere ? 'not_git' : 'missing', branchThere };
    const now = withFolder(found, context, folder);
    if (then.head === found.head || branchThere === false) return { ...now, branchThere };
    return { ...now, branchThere, moved: await howMoved(folder, then.head, found.head) };
  },
};

/** @param {string} one @returns {string} without links, as far as it is there */
function real(one) {
  try {
    return fs.realpathSync(one);
  } catch {
    return one;
  }
}

/** @param {string} one @param {string} other */
function samePath(one, other) {
  return real(one) === real(other);
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

/**
 * @param {string} folder
 * @param {string | null} from
 * @param {string | null} to
 * @returns {Promise<'ahead' | 'behind' | 'diverged' | 'unknown'>}
 */
async function howMoved(folder, from, to) {
  if (!from) return 'ahead';
  if (!to) return 'diverged';
  try {
    const isAhead = unwrap(await native().gitIsAncestor(folder, from, to));
    if (isAhead === true) return 'ahead';
    const isBehind = unwrap(await native().gitIsAncestor(folder, to, from));
    if (isBehind === true) return 'behind';
    return isAhead === null || isBehind === null ? 'unknown' : 'diverged';
  } catch {
    // The old commit may be gone for good.
    return 'unknown';
  }
}

module.exports = { git, repositoryOf };
