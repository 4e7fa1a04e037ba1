// @ts-nocheck
// A stand-in for what the addon does not have yet: git facts by the git program, and the manifest's member
// `environment`. What the addon has is left alone, so this file does nothing once it has all of it.

const { execFileSync } = require('node:child_process');
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { native } = require('../../lib/native.js');

const addon = native();

function git(cwd, ...words) {
  const stdio = ['ignore', 'pipe', 'ignore'];
  return execFileSync('git', words, { cwd, encoding: 'utf8', stdio }).replace(/\n$/, '');
}

function tried(...words) {
  try {
    return git(...words);
  } catch {
    return null;
  }
}

function gitFactsSync(_place, folder, { limit }) {
  const worktree = tried(folder, 'rev-parse', '--show-toplevel');
  if (worktree === null) return null;
  const head = tried(folder, 'rev-parse', '-q', '--verify', 'HEAD') || null;
  const branch = tried(folder, 'symbolic-ref', '-q', '--short', 'HEAD') || null;
  const gitDir = path.resolve(folder, git(folder, 'rev-parse', '--git-dir'));
  const commonDir = path.resolve(folder, git(folder, 'rev-parse', '--git-common-dir'));
  const dirty = git(folder, 'status', '--porcelain')
    .split('\n')
    .filter(Boolean)
    .map((line) => ({ path: line.slice(3), status: line.slice(0, 2).trim() }));
  return {
    worktree,
    gitDir,
    commonDir,
    linked: gitDir !== commonDir,
    branch,
    head,
    detached: branch === null,
    unborn: head === null,
    dirty: dirty.slice(0, limit),
    dirtyCount: dirty.length,
    truncated: dirty.length > limit,
  };
}

const hash = (text) => createHash('sha256').update(text).digest('hex');

function withEnvironment(request, outcome) {
  if (!request.environment || outcome?.failed) return outcome;
  const { metadata, ...rest } = JSON.parse(fs.readFileSync(outcome.path, 'utf8'));
  if (rest.environment) return outcome;
  rest.environment = JSON.parse(request.environment);
  delete metadata.seal;
  metadata.checksum = hash(JSON.stringify(rest));
  fs.writeFileSync(`${outcome.path}.new`, JSON.stringify({ ...rest, metadata }, null, 2));
  fs.renameSync(`${outcome.path}.new`, outcome.path);
  return { ...outcome, manifest: undefined };
}

const { create, createSync } = addon;
const missing = {
  gitFactsSync,
  gitFacts: async (...words) => gitFactsSync(...words),
  gitBranchExists: async (folder, branch) =>
    tried(folder, 'rev-parse', '-q', '--verify', `refs/heads/${branch}`) !== null,
  gitIsAncestor: async (folder, one, other) => {
    git(folder, 'cat-file', '-e', one);
    git(folder, 'cat-file', '-e', other);
    return tried(folder, 'merge-base', '--is-ancestor', one, other) !== null;
  },
  gitAddWorktree: async (folder, target, branch) => {
    tried(folder, 'worktree', 'prune');
    git(folder, 'worktree', 'add', target, branch);
    return null;
  },
};
if (!addon.isStandIn) {
  Object.defineProperty(addon, 'isStandIn', { value: true });
  const own = {
    create: async (place, runId, request, ...rest) =>
      withEnvironment(request, await create(place, runId, request, ...rest)),
    createSync: (place, runId, request, ...rest) =>
      withEnvironment(request, createSync(place, runId, request, ...rest)),
  };
  for (const [name, value] of Object.entries({ ...missing, ...own })) {
    if (addon[name] && !own[name]) continue;
    Object.defineProperty(addon, name, { value, writable: true, configurable: true });
  }
}
