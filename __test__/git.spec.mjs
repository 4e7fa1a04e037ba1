// What git says, across the boundary.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import native from '../native.js';
import { removeAll, temporary } from './support/project.mjs';

afterAll(removeAll);

test('facts, branches, ancestors and worktrees', async () => {
  const root = fs.realpathSync(temporary());
  const git = (/** @type {string[]} */ ...words) =>
    execFileSync('git', ['-c', 'user.name=a', '-c', 'user.email=a@b', ...words], {
      cwd: root,
      encoding: 'utf8',
    }).trim();
  expect(native.gitFactsSync({ root }, '.')).toBeNull();
  git('init', '-q', '-b', 'main', '.');
  fs.writeFileSync(path.join(root, 'a'), '1');
  git('add', '-A');
  git('commit', '-qm', 'one');
  fs.writeFileSync(path.join(root, 'b'), '2');
  const head = git('rev-parse', 'HEAD');
  const facts = await native.gitFacts({ root }, '.', { since: head, limit: 10, timeoutMs: 60_000 });
  expect(facts).toEqual({
    worktree: root,
    gitDir: path.join(root, '.git'),
    commonDir: path.join(root, '.git'),
    linked: false,
    branch: 'main',
    head,
    detached: false,
    unborn: false,
    dirty: [{ path: 'b', status: 'untracked' }],
    dirtyCount: 1,
    truncated: false,
    moved: 'same',
  });
  expect(await native.gitBranchExists(root, 'main')).toBe(true);
  expect(native.gitBranchExistsSync(root, 'none')).toBe(false);
  expect(native.gitIsAncestorSync(root, head, head)).toBe(true);
  expect(await native.gitIsAncestor(root, '1'.repeat(40), head)).toBeNull();
  git('branch', 'topic');
  const to = path.join(root, '..', `${path.basename(root)}-wt`);
  expect(await native.gitAddWorktree(root, to, 'topic')).toBe(to);
  expect(native.gitFactsSync({}, to)).toMatchObject({ linked: true, branch: 'topic' });
  expect(native.gitAddWorktreeSync(root, to, 'topic')).toMatchObject({ code: 'ERR_GIT' });
  fs.rmSync(to, { recursive: true });
});
