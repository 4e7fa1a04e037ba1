// Whether a run can go on: every reason is made for real, and resolved by each of its options. Repositories are made
// with the git program, ports are bound, worktrees are removed.

import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, describe, expect, test } from '@jest/globals';
import waymark from '../index.js';
import tables from '../lib/resume-table.js';
import states from '../lib/run-state.js';
import { waymark as command } from './support/cli.mjs';
import {
  addRun,
  oldCheckpoint,
  readJson,
  removeAll,
  repo,
  temporary,
  writeJson,
} from './support/project.mjs';

const RUN = 'r1';
const SLOW = { timeoutMs: 60_000 };

/** @type {net.Server[]} */
const servers = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.close();
    await once(server, 'close');
  }
  delete process.env.GATE_TEST;
});
afterAll(removeAll);

/** @param {string} cwd @param {string[]} words */
function git(cwd, ...words) {
  const own = ['-c', 'user.name=t', '-c', 'user.email=t@example.org', '-c', 'commit.gpgsign=false'];
  return execFileSync('git', [...own, ...words], {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  }).trim();
}

/** A port that nobody listens on. */
async function freePort() {
  const server = net.createServer().listen(0);
  await once(server, 'listening');
  const { port } = /** @type {net.AddressInfo} */ (server.address());
  server.close();
  await once(server, 'close');
  return port;
}

/** @param {number} port @param {string} [host] */
async function occupy(port, host) {
  const server = net.createServer().listen(port, host);
  servers.push(server);
  await once(server, 'listening');
}

const FLOW = [0, 1, 1.5, 2];

/**
 * A project with a git worktree beside it, and a run with two checkpoints: an old one of step 0 that nothing was
 * declared for, and one of step 1.
 * @param {{ environment?: object, config?: object }} [options]
 */
async function world({ environment = {}, config } = {}) {
  const home = fs.realpathSync(temporary());
  const root = path.join(home, 'project');
  const worktree = path.join(home, 'tree');
  const runsDir = path.join(root, '.claude', 'context', 'runs');
  const { dir } = addRun(runsDir, RUN, { artifacts: 0 });
  const put = (/** @type {string} */ name, /** @type {string} */ text) => {
    fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
    fs.writeFileSync(path.join(root, name), text);
  };
  /** @param {(number | string)[]} steps @param {string} [more] */
  const flow = (steps, more = '') =>
    put('flow.yaml', `steps:\n${steps.map((step) => `  - step: ${step}\n`).join('')}${more}`);
  flow(FLOW);
  put('src/a.txt', 'a');
  put('package-lock.json', '{}');
  put('needed.json', '{}');
  put('out.md', 'artifact');
  // The machine may be busy; what hangs is tested with limits of its own.
  writeJson(path.join(root, 'waymark.config.json'), config ?? { environment: SLOW });
  git(root, 'init', '-q', '-b', 'main');
  git(root, 'add', 'src');
  git(root, 'commit', '-q', '-m', 'one');
  git(root, 'worktree', 'add', '-q', '-b', 'feature', worktree);
  const port = await freePort();
  process.env.GATE_TEST = 'one';
  const manager = new waymark.CheckpointManager({
    root,
    capture: { workspace: ['src'] },
    environment: {
      worktree: '../tree',
      workflow: 'flow.yaml',
      ports: { api: port },
      variables: ['GATE_TEST'],
      files: ['needed.json'],
      ...environment,
    },
  });
  const artifacts = { 'out.md': { name: 'out.md', step: 1, path: path.join(root, 'out.md') } };
  const none = { worktree: false, variables: [], files: [], ports: {} };
  const old = await manager.create(RUN, 0, { n: 0 }, { environment: /** @type {any} */ (none) });
  writeJson(path.join(dir, 'artifact-registry.json'), {
    run_id: RUN,
    workflow_id: 'flow',
    artifacts,
  });
  const made = await manager.create(RUN, 1, { n: 1 });
  const first = made.checkpointId;
  return { home, root, worktree, dir, put, flow, port, manager, old, made, first };
}
/** @typedef {Awaited<ReturnType<typeof world>>} World */

/** @param {World} at @param {object} [options] */
const planned = (at, options) => at.manager.planResume(RUN, options);
/** @param {import('../index.js').ResumePlan} plan */
const named = ({ reasons }) => reasons.map(({ type, kind }) => (kind ? `${type}.${kind}` : type));

test('of steps whose checkpoints were pruned the audit log knows which were passed over', async () => {
  const at = await world();
  at.manager.createSync(RUN, 2);
  const { steps } = await planned(at);
  expect(steps).toEqual({ done: [0, 1, 2], skipped: [1.5], todo: [], frontier: [] });
  at.manager.pruneSync(RUN, { keepLast: 1 });
  expect((await planned(at)).steps).toEqual(steps);
  // Without the log nobody knows: they count as done.
  fs.rmSync(path.join(at.root, '.waymark', 'events'), { recursive: true });
  expect((await planned(at)).steps).toMatchObject({ done: [0, 1, 1.5, 2], skipped: [] });
});

test('nothing differs: ready, and the fingerprint says of what', async () => {
  const at = await world();
  const plan = await planned(at);
  expect(plan).toMatchObject({
    verdict: 'ready',
    checkpointId: at.made.checkpointId,
    from: 1,
    next: 1.5,
    reasons: [],
    options: [],
    steps: { done: [0, 1], skipped: [], todo: [1.5, 2], frontier: [1.5] },
  });
  const { checkpoint } = await at.manager.show(RUN, at.made.checkpointId);
  expect(checkpoint.environment).toMatchObject({
    format: 1,
    git: {
      folder: '../tree',
      worktree: at.worktree,
      branch: 'feature',
      head: git(at.worktree, 'rev-parse', 'HEAD'),
      linked: true,
      detached: false,
      dirty: [],
    },
    workflow: { path: 'flow.yaml', steps: FLOW },
    versions: { node: process.versions.node, locks: { 'package-lock.json': expect.any(String) } },
    ports: { api: { port: at.port, at: '/metadata/ports/api' } },
    variables: { GATE_TEST: expect.stringMatching(/^[0-9a-f]{16}$/) },
    files: { 'needed.json': expect.stringMatching(/^[0-9a-f]{64}$/) },
    host: { platform: process.platform },
  });
  expect(JSON.stringify(checkpoint.environment)).not.toContain('"one"');
  expect((await at.manager.verify(RUN)).damaged).toEqual([]);
});

/**
 * What makes a run stale or changed: the reason that it gives, and how it is made. An option that does not resolve it
 * by itself gets a value or an accomplice.
 * @type {[name: string, make: (at: World) => unknown, options?: object][]}
 */
const SCENES = [
  ['worktree_deleted', (at) => fs.rmSync(at.worktree, { recursive: true })],
  ['branch_gone', (at) => git(at.root, 'update-ref', '-d', 'refs/heads/feature')],
  [
    'head_moved.ahead',
    (at) => git(at.worktree, 'commit', '-q', '--allow-empty', '-m', 'more'),
    { policy: { 'head_moved.ahead': 'stale' } },
  ],
  [
    'head_moved.diverged',
    (at) => git(at.worktree, 'commit', '-q', '--amend', '-m', 'other', '--allow-empty'),
  ],
  [
    'head_moved.behind',
    async (at) => {
      git(at.worktree, 'commit', '-q', '--allow-empty', '-m', 'more');
      at.made = await at.manager.create(RUN, 1);
      git(at.worktree, 'reset', '-q', '--hard', 'HEAD~1');
    },
  ],
  [
    'head_moved.unknown',
    (at) => {
      git(at.worktree, 'commit', '-q', '--allow-empty', '--amend', '-m', 'other');
      git(at.root, 'update-ref', 'refs/heads/main', 'feature');
      lose(at);
    },
  ],
  ['head_moved.branch', (at) => git(at.worktree, 'checkout', '-q', '-b', 'elsewhere')],
  [
    'dirty_files.uncaptured',
    (at) => fs.writeFileSync(path.join(at.worktree, 'src', 'a.txt'), 'b'),
    { policy: { dirty_files: 'stale' } },
  ],
  [
    'dirty_files.captured',
    (at) => at.put('src/a.txt', 'half'),
    { onConflict: 'keep-both', policy: { dirty_files: 'stale' } },
  ],
  ['dirty_files.conflict', (at) => at.put('src/a.txt', 'mine')],
  ['port_in_use', (at) => occupy(at.port)],
  ['port_in_use', (at) => occupy(at.port, '127.0.0.1')],
  [
    'expired.age',
    async (at) => {
      at.made = await at.manager.create(RUN, 1, {}, { environment: { expires: '2020-01-01' } });
    },
  ],
  ['workflow_changed.behind', (at) => at.flow([0, 0.5, 1, 1.5, 2])],
  [
    'workflow_changed.ahead',
    (at) => at.flow([0, 1, 1.6, 2]),
    { policy: { workflow_changed: 'stale' } },
  ],
  [
    'workflow_changed.content',
    (at) => at.flow(FLOW, '# a word\n'),
    { policy: { workflow_changed: 'stale' } },
  ],
  ['step_missing', (at) => at.flow([0, 2])],
  [
    'version_changed.lock',
    (at) => at.put('package-lock.json', '{"a":1}'),
    { policy: { version_changed: 'stale' } },
  ],
  [
    'state_damaged.run',
    (at) => fs.writeFileSync(path.join(at.dir, 'run.json'), '{"run_id": "r1", "sta'),
    { policy: { state_damaged: 'stale' } },
  ],
  [
    'artifact_missing.captured',
    (at) => fs.rmSync(path.join(at.root, 'out.md')),
    { policy: { artifact_missing: 'stale' } },
  ],
  [
    'artifact_changed',
    (at) => at.put('out.md', 'other'),
    { policy: { artifact_changed: 'stale' } },
  ],
  [
    'artifact_missing.uncaptured',
    async (at) => {
      at.made = await at.manager.create(RUN, 1, {}, { capture: { maxFileBytes: 4 } });
      fs.rmSync(path.join(at.root, 'out.md'));
    },
  ],
  [
    'artifact_missing.unknown',
    async (at) => {
      at.made = await at.manager.create(RUN, 1, {}, { capture: false });
      fs.rmSync(path.join(at.root, 'out.md'));
    },
    { policy: { artifact_missing: 'stale' } },
  ],
  [
    'checkpoint_partial',
    async (at) => {
      at.put('src/large.bin', 'x'.repeat(5000));
      const capture = { workspace: ['src'], maxFileBytes: 1000 };
      at.made = await at.manager.create(RUN, 1, {}, { capture });
    },
    { policy: { checkpoint_partial: 'stale' } },
  ],
  [
    'variable_changed.changed',
    () => {
      process.env.GATE_TEST = 'two';
    },
    { policy: { variable_changed: 'stale' } },
  ],
  [
    'variable_changed.missing',
    () => {
      delete process.env.GATE_TEST;
    },
  ],
  [
    'file_changed.changed',
    (at) => at.put('needed.json', '{"a":1}'),
    { policy: { file_changed: 'stale' } },
  ],
  ['file_changed.missing', (at) => fs.rmSync(path.join(at.root, 'needed.json'))],
  [
    'tool_missing',
    async (at) => {
      const tool = path.join(at.home, 'tool');
      fs.writeFileSync(tool, '#!/bin/sh\n', { mode: 0o755 });
      at.made = await at.manager.create(RUN, 1, {}, { environment: { tools: [tool] } });
      fs.rmSync(tool);
    },
  ],
  [
    'run_ended.completed',
    (at) =>
      writeJson(path.join(at.dir, 'run.json'), {
        ...readJson(path.join(at.dir, 'run.json')),
        status: 'completed',
      }),
  ],
  [
    'run_ended.cancelled',
    (at) =>
      writeJson(path.join(at.dir, 'run.json'), {
        ...readJson(path.join(at.dir, 'run.json')),
        status: 'cancelled',
      }),
  ],
];

/** Commits that no branch has are gone for good. @param {World} at */
function lose(at) {
  git(at.root, 'reflog', 'expire', '--expire=now', '--all');
  git(at.root, 'prune', '--expire=now');
}

/** Options that mend the world: afterwards nothing is wrong with it. */
const MENDING = ['recreate_worktree', 'recreate_branch', 'new_ports', 'restore_files'];

describe.each(SCENES)('%s', (name, make, options = {}) => {
  const [type, kind] = name.split('.');

  test('is told, with its severity, its options and the mark of the checkpoint', async () => {
    const at = await world();
    await make(at);
    const plan = await planned(at, options);
    expect(named(plan)).toContain(name);
    expect(plan.verdict).toBe('stale');
    const reason = plan.reasons.find((one) => one.type === type && one.kind === kind);
    expect(reason).toMatchObject({
      severity: 'stale',
      accepted: false,
      message: expect.any(String),
    });
    const [marked] = await at.manager.list(RUN);
    expect(marked.facts?.data).toMatchObject({
      waymark: { stale: { since: expect.any(String), reasons: [{ type }] } },
    });
    await expect(at.manager.resume(RUN, options)).rejects.toMatchObject({
      code:
        name === 'step_missing'
          ? 'ERR_WORKFLOW_STEP_MISSING'
          : name === 'dirty_files.conflict'
            ? 'ERR_RESTORE_CONFLICT'
            : 'ERR_RUN_STALE',
    });
  });

  test.each(tables.optionsOf(type, kind))('%s', async (option) => {
    const at = await world();
    await make(at);
    const before = await planned(at, options);
    expect(before.options.map((one) => one.option)).toContain(option);
    if (option === 'accept') {
      const accept = [...new Set(before.reasons.map((one) => one.type))];
      const done = await at.manager.resume(RUN, { ...options, accept });
      expect(done).toMatchObject({ next: expect.any(Number), checkpointId: at.made.checkpointId });
      const after = await at.manager.create(RUN, 1.5);
      expect((await at.manager.show(RUN, after.checkpointId)).checkpoint.environment).toMatchObject(
        {
          accepted: expect.arrayContaining([
            {
              type,
              ...(kind ? { kind } : {}),
              message: expect.any(String),
              at: expect.any(String),
            },
          ]),
        },
      );
      const later = await at.manager.create(RUN, 2);
      const { environment } = (await at.manager.show(RUN, later.checkpointId)).checkpoint;
      expect(environment).not.toHaveProperty('accepted');
      return;
    }
    const value = { restart_from_step: '=0', fork: '=r2' }[option] ?? '';
    const done = await at.manager.resume(RUN, { ...options, options: [`${option}${value}`] });
    expect(done.did).toMatchObject([{ option, message: expect.any(String) }]);
    if (MENDING.includes(option)) {
      expect(done).toMatchObject({ runId: RUN, next: 1.5, checkpointId: at.made.checkpointId });
      if (option !== 'new_ports') {
        expect(named(await planned(at, options))).not.toContain(name);
        return;
      }
      const { api } = done.ports;
      expect(api).not.toBe(at.port);
      expect(readJson(path.join(at.dir, 'run.json')).metadata.ports).toEqual({ api });
      await at.manager.create(RUN, 1.5);
      expect(await planned(at)).toMatchObject({ verdict: 'ready', next: 2 });
    } else if (option === 'older_checkpoint') {
      // Some scenes take another checkpoint: then that of before is the older one, unless it is stale as well.
      const older = [at.old.checkpointId, ...(at.made.checkpointId === at.first ? [] : [at.first])];
      expect(older).toContain(done.checkpointId);
    } else if (option === 'restart_from_step') {
      expect(done).toMatchObject({ next: 0, checkpointId: null, restored: null });
      expect(readJson(path.join(at.dir, 'run.json'))).toMatchObject({
        status: 'in_progress',
        current_step: 0,
      });
    } else if (option === 'fork') {
      expect(done).toMatchObject({ runId: 'r2', next: 1.5 });
      expect(readJson(path.join(at.dir, '..', 'r2', 'run.json'))).toMatchObject({ run_id: 'r2' });
    } else if (option === 'complete_outside') {
      const step = /** @type {number} */ (before.next);
      expect(done).toMatchObject({ from: step, restored: null });
      expect(done.next).toBe(before.steps.todo[1] ?? null);
      const [newest] = await at.manager.list(RUN);
      expect(newest).toMatchObject({ step, facts: { type: 'manual', trigger: 'user' } });
      expect(readJson(path.join(at.dir, 'run.json')).current_step).toBe(step);
    } else {
      expect(option).toBe('abandon');
      expect(done).toMatchObject({ ended: true, next: null });
      expect(readJson(path.join(at.dir, 'run.json')).status).toBe('cancelled');
      expect(await at.manager.list(RUN)).toHaveLength(1);
    }
  });
});

describe('what does not make it stale', () => {
  test('files that the next step has left half done are changes, and settled by the policy of restores', async () => {
    const at = await world();
    at.put('src/a.txt', 'half');
    expect(await planned(at, { onConflict: 'keep-both' })).toMatchObject({
      verdict: 'ready-with-changes',
      reasons: [{ type: 'dirty_files', kind: 'captured', severity: 'change' }],
    });
    const done = await at.manager.resume(RUN, { onConflict: 'keep-both' });
    expect(done.next).toBe(1.5);
    expect(fs.readFileSync(path.join(at.root, 'src', 'a.txt'), 'utf8')).toBe('a');
  });

  test('what the runs and the store change', async () => {
    const at = await world({ environment: { worktree: '.' } });
    fs.writeFileSync(path.join(at.dir, 'notes.md'), 'x');
    expect((await planned(at)).reasons).toEqual([]);
  });

  test('a checkpoint of another tool has no fingerprint, which is only worth a note', async () => {
    const at = await world();
    const bare = await at.manager.create(RUN, 1.5, {}, { environment: false });
    expect(
      (await at.manager.show(RUN, bare.checkpointId)).checkpoint.environment ?? null,
    ).toBeNull();
    // The workflow file is the one that is declared.
    const plan = await planned(at);
    expect(plan).toMatchObject({ verdict: 'ready', next: 2 });
    expect(named(plan)).toEqual(['not_known.fingerprint']);
  });

  test('a run that is through; but a completed one that has steps left is told', async () => {
    const at = await world();
    const file = path.join(at.dir, 'run.json');
    writeJson(file, { ...readJson(file), status: 'completed' });
    expect(named(await planned(at))).toEqual(['run_ended.completed']);
    expect((await planned(at, { step: 1 })).verdict).toBe('ready');
    // The runner says so before its last step has a checkpoint, and may be killed in between.
    await at.manager.create(RUN, 1.5);
    expect(await planned(at)).toMatchObject({ verdict: 'ready', next: 2, reasons: [] });
    await at.manager.create(RUN, 2);
    const plan = await planned(at);
    expect(plan).toMatchObject({ verdict: 'ready', next: null, steps: { todo: [] } });
    const done = await at.manager.resume(RUN);
    expect(done).toMatchObject({ next: null, restored: null });
    expect(readJson(file).status).toBe('completed');
  });

  test('the mark goes when the world is as it was again', async () => {
    const at = await world();
    fs.renameSync(at.worktree, `${at.worktree}-away`);
    expect((await planned(at, { mark: false })).verdict).toBe('stale');
    const before = (await at.manager.list(RUN))[0];
    expect(before.facts?.data?.waymark).toBeUndefined();
    await planned(at);
    expect((await at.manager.list(RUN))[0].facts?.data?.waymark.stale.reasons).toHaveLength(1);
    fs.renameSync(`${at.worktree}-away`, at.worktree);
    expect((await planned(at)).verdict).toBe('ready');
    expect((await at.manager.list(RUN))[0].facts?.data?.waymark?.stale).toBeUndefined();
  });
});

describe('several at once, and ways back', () => {
  test('a worktree and its branch that are both gone are made again', async () => {
    const at = await world();
    const head = git(at.worktree, 'rev-parse', 'HEAD');
    fs.rmSync(at.worktree, { recursive: true });
    git(at.root, 'update-ref', '-d', 'refs/heads/feature');
    expect(named(await planned(at))).toEqual(['worktree_deleted', 'branch_gone']);
    const done = await at.manager.resume(RUN, {
      options: ['recreate_worktree', 'recreate_branch'],
    });
    expect(done.did.map(({ option }) => option)).toEqual(['recreate_branch', 'recreate_worktree']);
    expect(git(at.worktree, 'rev-parse', 'HEAD')).toBe(head);
    expect(git(at.worktree, 'status', '--porcelain')).toBe('');
    expect((await planned(at)).verdict).toBe('ready');
  });

  test('what was done stays, and the error says so', async () => {
    const at = await world();
    await occupy(at.port);
    fs.rmSync(at.worktree, { recursive: true });
    await expect(at.manager.resume(RUN, { options: ['recreate_worktree'] })).rejects.toMatchObject({
      code: 'ERR_RUN_STALE',
      reason: 'port_in_use',
      message: expect.stringContaining('done so far: recreate_worktree'),
    });
    expect(fs.existsSync(at.worktree)).toBe(true);
  });

  test('a cancelled run restarts from a step', async () => {
    const at = await world();
    const file = path.join(at.dir, 'run.json');
    writeJson(file, { ...readJson(file), status: 'cancelled' });
    const done = await at.manager.resume(RUN, { options: ['restart_from_step=1'] });
    expect(done).toMatchObject({ next: 1, checkpointId: at.old.checkpointId });
    expect(readJson(file).status).toBe('in_progress');
  });

  test('a run that is through is left alone, whatever the world is like', async () => {
    const at = await world();
    const last = await at.manager.create(RUN, 2);
    fs.rmSync(at.worktree, { recursive: true });
    const done = await at.manager.resume(RUN);
    expect(done).toMatchObject({ next: null, restored: null, checkpointId: last.checkpointId });
    expect((await at.manager.list(RUN))[0].facts?.data?.waymark).toBeUndefined();
  });

  test('a step that can not be taken as done leaves the run as it was', async () => {
    const at = await world();
    const file = path.join(at.dir, 'run.json');
    const before = readJson(file);
    const small = new waymark.CheckpointManager({ root: at.root, maxStateBytes: 1 });
    await expect(
      small.resume(RUN, { options: ['complete_outside'], accept: ['not_known'] }),
    ).rejects.toMatchObject({ code: 'ERR_STATE_TOO_LARGE' });
    const { updated_at: _, ...after } = readJson(file);
    expect(before).toMatchObject(after);
  });

  test('a checkpoint that tells of a branch no git would have', async () => {
    const at = await world();
    const { checkpoint } = await at.manager.show(RUN, at.made.checkpointId);
    const environment = /** @type {any} */ (checkpoint.environment);
    environment.git.branch = '../../../evil';
    const { metadata: _, snapshot: __, state_objects: ___, waymark: ____, ...rest } = checkpoint;
    const ms = Date.now() + 5;
    const forged = { ...rest, checkpoint_id: `checkpoint-step-1-${ms}`, environment };
    const id = oldCheckpoint(at.dir, RUN, 1, ms, forged);
    await expect(
      at.manager.resume(RUN, { checkpoint: id, options: ['recreate_branch'] }),
    ).rejects.toMatchObject({ code: 'ERR_RESUME_OPTION' });
    expect(fs.existsSync(path.join(at.home, 'evil'))).toBe(false);
  });
});

describe('git', () => {
  /** @param {World} at @param {string} folder */
  const of = (at, folder) =>
    new waymark.CheckpointManager({
      root: at.root,
      environment: { worktree: folder, workflow: 'flow.yaml' },
    });

  test('many files that the runs hold hide nothing', async () => {
    const at = await world();
    for (let n = 0; n < 250; n += 1) fs.writeFileSync(path.join(at.dir, `n${n}`), 'x');
    const manager = of(at, '.');
    await manager.create(RUN, 1.5, {}, { capture: false });
    expect((await manager.planResume(RUN)).reasons).toEqual([]);
    fs.writeFileSync(path.join(at.dir, 'n250'), 'x');
    expect((await manager.planResume(RUN)).reasons).toEqual([]);
    at.put('src/a.txt', 'b');
    const { reasons } = await manager.planResume(RUN);
    expect(reasons).toMatchObject([
      {
        type: 'dirty_files',
        kind: 'uncaptured',
        details: { changed: [{ path: 'src/a.txt', status: 'modified' }], truncated: false },
      },
    ]);
  });

  test('a branch whose commits are gone for good is not made again', async () => {
    const at = await world();
    git(at.worktree, 'commit', '-q', '--allow-empty', '-m', 'more');
    await at.manager.create(RUN, 1.5);
    git(at.root, 'worktree', 'remove', '--force', at.worktree);
    git(at.root, 'branch', '-q', '-D', 'feature');
    lose(at);
    await expect(at.manager.resume(RUN, { options: ['recreate_branch'] })).rejects.toMatchObject({
      code: 'ERR_RESUME_OPTION',
      message: expect.stringContaining('is gone'),
    });
    expect(git(at.root, 'branch', '--list', 'feature')).toBe('');
  });

  test('nor one where another branch is in the way', async () => {
    const at = await world();
    git(at.root, 'worktree', 'remove', '--force', at.worktree);
    git(at.root, 'branch', '-q', '-D', 'feature');
    git(at.root, 'branch', 'feature/x');
    git(at.root, 'pack-refs', '--all');
    await expect(at.manager.resume(RUN, { options: ['recreate_branch'] })).rejects.toMatchObject({
      code: 'ERR_RESUME_OPTION',
      message: expect.stringContaining('feature/x'),
    });
    expect(git(at.root, 'branch', '--list', 'feature')).toBe('');
  });

  test('a project that is reached by a link', async () => {
    const at = await world();
    fs.symlinkSync(at.home, path.join(at.home, 'link'));
    const link = path.join(at.home, 'link', 'project');
    git(at.root, 'worktree', 'add', '-q', '-b', 'inner', 'inner');
    const manager = new waymark.CheckpointManager({
      root: link,
      capture: { workspace: ['src'] },
      environment: { worktree: 'inner', workflow: 'flow.yaml' },
    });
    await manager.create(RUN, 1.5);
    expect((await manager.planResume(RUN)).reasons).toEqual([]);
    fs.rmSync(path.join(at.root, 'inner'), { recursive: true });
    const done = await manager.resume(RUN, { options: ['recreate_worktree'] });
    expect(done).toMatchObject({ next: 2 });
    expect((await manager.planResume(RUN)).verdict).toBe('ready');
    // What the checkpoint has, it compares itself, wherever git says that it lies.
    const main = new waymark.CheckpointManager({ root: link, capture: { workspace: ['src'] } });
    await main.create(RUN, 1.5, {}, { environment: { worktree: '.' } });
    at.put('src/a.txt', 'b');
    const { reasons } = await main.planResume(RUN, { onConflict: 'keep-both' });
    expect(reasons.map(({ kind }) => kind)).toEqual(['captured']);
  });

  test('a folder that another branch does not have', async () => {
    const at = await world();
    git(at.worktree, 'rm', '-rq', 'src');
    git(at.worktree, 'commit', '-q', '-m', 'without');
    git(at.worktree, 'checkout', '-q', '-b', 'with', 'HEAD~1');
    const manager = of(at, '../tree/src');
    await manager.create(RUN, 1.5, {}, { capture: false });
    expect((await manager.planResume(RUN)).reasons).toEqual([]);
    git(at.worktree, 'checkout', '-q', 'feature');
    expect(named(await manager.planResume(RUN))).toEqual(['head_moved.branch']);
  });
});

describe('side by side', () => {
  /** @param {World} at */
  const parallel = (at) =>
    at.put(
      'flow.yaml',
      `steps:
  - step: 1
  - step: 2
    parallel: true
  - step: 3
    parallel: true
  - step: 4
`,
    );

  test('a restart begins with the step that was asked for', async () => {
    const at = await world();
    parallel(at);
    await at.manager.create(RUN, 1);
    const first = await at.manager.create(RUN, 2);
    await at.manager.create(RUN, 3);
    const done = await at.manager.resume(RUN, { options: ['restart_from_step=3'] });
    expect(done).toMatchObject({ checkpointId: first.checkpointId, next: 3 });
    done.lease?.releaseSync();
    const again = await at.manager.resume(RUN, { step: 1, options: ['restart_from_step=2'] });
    expect(again).toMatchObject({ from: 1, next: 2, plan: { steps: { frontier: [2, 3] } } });
    again.lease?.releaseSync();
    const other = {
      options: ['restart_from_step=3'],
      onConflict: /** @type {const} */ ('overwrite'),
    };
    await at.manager.prune(RUN, { keepLast: 4 });
    expect((await at.manager.resume(RUN, other)).next).toBe(3);
  });

  test('what a restore took back is done again', async () => {
    const at = await world();
    parallel(at);
    await at.manager.create(RUN, 1);
    await at.manager.create(RUN, 2);
    await at.manager.restore(RUN, { step: 1 });
    await at.manager.create(RUN, 3);
    expect(await planned(at)).toMatchObject({
      next: 2,
      steps: { done: [1, 3], todo: [2, 4], frontier: [2] },
    });
  });
});

describe('options that must not settle too much', () => {
  test('files put back are those that the checkpoint has', async () => {
    const at = await world();
    at.put('src/a.txt', 'half');
    fs.writeFileSync(path.join(at.worktree, 'src', 'a.txt'), 'b');
    const policy = { dirty_files: /** @type {const} */ ('stale') };
    await expect(
      at.manager.resume(RUN, { policy, options: ['restore_files'] }),
    ).rejects.toMatchObject({
      code: 'ERR_RUN_STALE',
      message: expect.stringContaining(at.worktree),
    });
    expect(fs.readFileSync(path.join(at.root, 'src', 'a.txt'), 'utf8')).toBe('half');
  });

  test('a completed run is not abandoned', async () => {
    const at = await world();
    const file = path.join(at.dir, 'run.json');
    writeJson(file, { ...readJson(file), status: 'completed' });
    await expect(at.manager.resume(RUN, { options: ['abandon'] })).rejects.toMatchObject({
      code: 'ERR_RESUME_OPTION',
    });
    expect(readJson(file).status).toBe('completed');
    expect(await at.manager.list(RUN)).toHaveLength(2);
  });

  test('a run between two steps is stale, too, until it is found ready; it had not stopped for it', async () => {
    const at = await world();
    const file = path.join(at.dir, 'run.json');
    writeJson(file, { ...readJson(file), status: 'in_progress' });
    await at.manager.create(RUN, 1.5, {}, { environment: { expires: '2020-01-01' } });
    const before = at.manager.runState(RUN);
    expect(before).toMatchObject({ state: 'running', status: 'in_progress' });
    // While somebody is at work on it, it is not said.
    const lease = at.manager.leaseSync(RUN);
    expect((await planned(at)).verdict).toBe('stale');
    expect(at.manager.runState(RUN).state).toBe('running');
    lease.releaseSync();
    expect((await planned(at)).verdict).toBe('stale');
    expect(await at.manager.status(RUN)).toMatchObject({
      state: 'stale',
      status: 'in_progress',
      resumable: false,
      why: expect.stringContaining('it is stale: '),
      way: `waymark resume ${RUN} --plan`,
    });
    expect((await planned(at, { accept: ['expired'] })).verdict).toBe('ready-with-changes');
    expect(at.manager.runState(RUN)).toMatchObject({ state: 'running', since: before.since });
    const workflow = path.join(at.root, 'flow.yaml');
    await expect(at.manager.resume(RUN, { workflow })).rejects.toMatchObject({
      code: 'ERR_RUN_STALE',
    });
    expect(at.manager.runState(RUN).state).toBe('stale');
    const done = await at.manager.resume(RUN, { workflow, accept: ['expired'] });
    await done.lease?.release();
    expect(at.manager.runState(RUN)).toMatchObject({ state: 'running', resumes: 0 });
  });

  test('a run that is found stale between two steps can be paused, and its runner honours a pause', async () => {
    const at = await world();
    const file = path.join(at.dir, 'run.json');
    writeJson(file, { ...readJson(file), status: 'in_progress' });
    await at.manager.create(RUN, 1.5, {}, { environment: { expires: '2020-01-01' } });
    const state = () => at.manager.runState(RUN).state;
    const workflow = path.join(at.root, 'flow.yaml');
    await planned(at);
    expect(state()).toBe('stale');
    await at.manager.pause(RUN);
    expect(state()).toBe('paused');
    await (await at.manager.resume(RUN, { workflow, accept: ['expired'] })).lease?.release();
    expect(state()).toBe('running');
    // A runner that takes no lease may be at work on the next step.
    await at.manager.pause(RUN, { afterStep: 2, workflow });
    await planned(at);
    expect(state()).toBe('stale');
    expect(await at.manager.boundary(RUN, 2, {}, { workflow })).toMatchObject({ paused: true });
    expect(state()).toBe('paused');
  });

  test('an older checkpoint that is stale says nothing of the run', async () => {
    const at = await world();
    const old = await at.manager.create(RUN, 1, {}, { environment: { expires: '2020-01-01' } });
    await at.manager.create(RUN, 1.5);
    const state = () => states.runState(/** @type {any} */ (at.manager), RUN).state;
    const before = state();
    expect((await planned(at, { checkpoint: old.checkpointId })).verdict).toBe('stale');
    expect(state()).toBe(before);
    expect((await at.manager.show(RUN, old.checkpointId)).facts?.data?.waymark.stale).toBeDefined();
  });
});

describe('damage', () => {
  /** @param {World} at @param {string} id */
  const damage = (at, id) => fs.truncateSync(path.join(at.dir, 'checkpoints', `${id}.json`), 100);

  /** @type {[string, string, { isAsked?: boolean, policy?: any }][]} */
  const ways = [
    ...tables
      .optionsOf('state_damaged', 'passed_over')
      .map(
        (option) =>
          /** @type {any} */ (['passed over', option, { policy: { state_damaged: 'stale' } }]),
      ),
    ...tables
      .optionsOf('state_damaged', 'checkpoint')
      .map((option) => /** @type {any} */ (['asked for', option, { isAsked: true }])),
  ];
  test.each(ways)('%s: %s', async (_, option, { isAsked, ...how }) => {
    const at = await world();
    damage(at, at.made.checkpointId);
    const options = { ...how, ...(isAsked ? { checkpoint: at.made.checkpointId } : {}) };
    // One without a plan that knows of steps has no workflow file either.
    const workflow = path.join(at.root, 'flow.yaml');
    expect((await planned(at, options)).options.map((one) => one.option)).toContain(option);
    if (option === 'accept') {
      const done = await at.manager.resume(RUN, {
        ...options,
        workflow,
        accept: ['state_damaged'],
      });
      expect(done).toMatchObject({ checkpointId: at.old.checkpointId, next: 1 });
      return;
    }
    const value = { restart_from_step: '=1', fork: '=r2' }[option] ?? '';
    const done = await at.manager.resume(RUN, {
      ...options,
      workflow,
      options: [`${option}${value}`],
    });
    if (option === 'abandon') expect(done).toMatchObject({ ended: true, next: null });
    else expect(done).toMatchObject({ from: 0, next: 1, runId: option === 'fork' ? 'r2' : RUN });
  });

  test('a damaged checkpoint is passed over, and told; asked for by its id it is stale', async () => {
    const at = await world();
    damage(at, at.made.checkpointId);
    expect(await planned(at)).toMatchObject({
      verdict: 'ready-with-changes',
      checkpointId: at.old.checkpointId,
      reasons: [{ type: 'state_damaged', kind: 'passed_over' }],
      skipped: [{ checkpointId: at.made.checkpointId, damage: 'truncated' }],
    });
    const asked = { checkpoint: at.made.checkpointId };
    const plan = await planned(at, asked);
    expect(plan).toMatchObject({ verdict: 'stale', from: null, next: null });
    expect(named(plan)).toEqual(['state_damaged.checkpoint']);
    await expect(at.manager.resume(RUN, asked)).rejects.toMatchObject({
      code: 'ERR_RUN_STALE',
      reason: 'state_damaged',
      reasons: [{ type: 'state_damaged' }],
      options: expect.arrayContaining([expect.objectContaining({ option: 'older_checkpoint' })]),
    });
    const done = await at.manager.resume(RUN, { ...asked, options: ['older_checkpoint'] });
    expect(done).toMatchObject({ checkpointId: at.old.checkpointId, next: 1 });
  });

  test("an older one that is damaged is in nobody's way", async () => {
    const at = await world();
    damage(at, at.old.checkpointId);
    expect(await planned(at)).toMatchObject({ verdict: 'ready', skipped: [] });
  });

  test('a partial checkpoint', async () => {
    const at = await world();
    at.put('src/large.bin', 'x'.repeat(5000));
    const capture = { workspace: ['src'], maxFileBytes: 1000 };
    await at.manager.create(RUN, 1.5, {}, { capture });
    const plan = await planned(at);
    expect(named(plan)).toEqual(['checkpoint_partial']);
    expect(plan.verdict).toBe('ready-with-changes');
  });

  test('an artifact that no checkpoint holds and that is gone', async () => {
    const at = await world();
    await at.manager.create(RUN, 1.5, {}, { capture: { maxFileBytes: 4 } });
    fs.rmSync(path.join(at.root, 'out.md'));
    const plan = await planned(at);
    expect(named(plan)).toContain('artifact_missing.uncaptured');
    expect(plan.verdict).toBe('stale');
    await at.manager.create(RUN, 2, {}, { capture: false });
    expect(named(await planned(at))).toEqual(['artifact_missing.unknown']);
    expect(plan.options.map(({ option }) => option)).not.toContain('restore_files');
  });

  test('clocks that were set back', async () => {
    const at = await world();
    const real = Date.now;
    Date.now = () => real() - 3_600_000;
    try {
      expect(named(await planned(at))).toContain('expired.future');
    } finally {
      Date.now = real;
    }
  });
});

describe('a run that somebody works on', () => {
  /** @type {import('node:child_process').ChildProcessWithoutNullStreams | undefined} */
  let holder;
  afterEach(() => {
    holder?.kill('SIGKILL');
  });

  /** Another process takes the lease, until its input ends. @param {World} at */
  async function hold(at) {
    const script = `
      const { native } = require(${JSON.stringify(path.join(repo, 'lib', 'native.js'))});
      const place = { root: ${JSON.stringify(at.root)} };
      const taken = native().acquireLeaseSync(place, '${RUN}', { holder: 'somebody', ttlMs: 60000 });
      if (taken.failed) throw new Error(taken.message);
      process.stdout.write('held');
      process.stdin.resume().on('end', () => {
        native().releaseLeaseSync(place, '${RUN}', taken.token);
        process.exit();
      });`;
    holder = spawn(process.execPath, ['-e', script]);
    await once(holder.stdout, 'data');
    return holder;
  }

  test('is told, with who holds it, since when and until when', async () => {
    const at = await world();
    const { pid } = await hold(at);
    const plan = await planned(at);
    expect(named(plan)).toEqual(['lease_held']);
    expect(plan).toMatchObject({
      verdict: 'stale',
      reasons: [
        {
          details: {
            holder: 'somebody',
            pid,
            since: expect.any(String),
            until: expect.any(String),
          },
          options: ['wait', 'fork'],
        },
      ],
    });
    await expect(at.manager.resume(RUN)).rejects.toMatchObject({
      code: 'ERR_RUN_STALE',
      reason: 'lease_held',
    });
    // What is named as help helps: nothing need be done about what was only changed.
    at.put('../tree/new.txt', 'x');
    expect(named(await planned(at))).toEqual(['lease_held', 'dirty_files.uncaptured']);
    await expect(at.manager.resume(RUN)).rejects.toThrow(
      / What can be done: (wait, fork|fork, wait)$/,
    );
    for (const option of ['restart_from_step=0', 'complete_outside', 'abandon']) {
      await expect(at.manager.resume(RUN, { options: [option] })).rejects.toMatchObject({
        code: 'ERR_RUN_STALE',
      });
    }
    // It says nothing of the checkpoint.
    expect((await at.manager.list(RUN))[0].facts?.data?.waymark).toBeUndefined();
  });

  test('two resumes of one process at once: one goes on', async () => {
    const at = await world();
    const other = new waymark.CheckpointManager({ root: at.root });
    const both = await Promise.allSettled([at.manager.resume(RUN), other.resume(RUN)]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(both.find(({ status }) => status === 'rejected')).toMatchObject({
      reason: { code: 'ERR_RUN_STALE', reason: 'lease_held' },
    });
    const went = /** @type {any} */ (both.find(({ status }) => status === 'fulfilled'));
    await went.value.lease.release();
    // One after the other is its own affair.
    expect((await other.resume(RUN)).next).toBe(1.5);
  });

  test('fork', async () => {
    const at = await world();
    await hold(at);
    const done = await at.manager.resume(RUN, { options: ['fork=r2'] });
    expect(done).toMatchObject({ runId: 'r2', next: 1.5 });
    // What was done before it lies in another run: it was not passed over. Nor when its first checkpoint is gone.
    const stands = async () => (await at.manager.planResume('r2')).steps;
    expect(await stands()).toMatchObject({ done: [0, 1], skipped: [] });
    await at.manager.create('r2', 1.5, {});
    at.manager.pruneSync('r2', { keepLast: 1 });
    expect(await stands()).toMatchObject({ done: [0, 1, 1.5], skipped: [] });
  });

  test('wait', async () => {
    const at = await world();
    const { stdin } = await hold(at);
    await expect(at.manager.resume(RUN, { options: ['wait=1s'] })).rejects.toMatchObject({
      code: 'ERR_RUN_STALE',
    });
    const waiting = at.manager.resume(RUN, { options: ['wait'] });
    stdin.end();
    expect(await waiting).toMatchObject({ runId: RUN, next: 1.5, did: [{ option: 'wait' }] });
  });

  test('a holder that is gone does not count', async () => {
    const at = await world();
    const child = await hold(at);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect((await planned(at)).verdict).toBe('ready');
  });
});

describe('misuse', () => {
  test.each([
    [{ accept: ['nonsense'] }, 'ERR_OPTION_INVALID'],
    [{ accept: ['lease_held'] }, 'ERR_OPTION_INVALID'],
    [{ policy: { nonsense: 'stale' } }, 'ERR_OPTION_INVALID'],
    [{ policy: { maxAge: '1x' } }, 'ERR_OPTION_INVALID'],
    [{ step: 1, checkpoint: 'c' }, 'ERR_OPTION_INVALID'],
    [{ nonsense: 1 }, 'ERR_OPTION_UNKNOWN'],
    [{ step: 7 }, 'ERR_CHECKPOINT_NOT_FOUND'],
    [{ checkpoint: 'checkpoint-step-9-9' }, 'ERR_CHECKPOINT_NOT_FOUND'],
    [{ workflow: '/no/such.yaml' }, 'ERR_WORKFLOW_NOT_FOUND'],
    [{ options: ['nonsense'] }, 'ERR_OPTION_INVALID'],
    [{ options: ['accept'] }, 'ERR_OPTION_INVALID'],
    [{ options: ['fork'] }, 'ERR_OPTION_INVALID'],
    [{ options: ['new_ports=3'] }, 'ERR_OPTION_INVALID'],
    [{ options: ['new_ports'] }, 'ERR_RESUME_OPTION'],
    [{ options: ['recreate_worktree'] }, 'ERR_RESUME_OPTION'],
    [{ options: ['restart_from_step=7'] }, 'ERR_WORKFLOW_STEP_MISSING'],
    [{ options: ['restart_from_step=2'] }, 'ERR_CHECKPOINT_NOT_FOUND'],
    [{ options: ['fork=r1'] }, 'ERR_RUN_EXISTS'],
  ])('%j is %s, and nothing is changed', async (options, code) => {
    const at = await world();
    const before = fs.readFileSync(path.join(at.dir, 'run.json'), 'utf8');
    await expect(at.manager.resume(RUN, /** @type {any} */ (options))).rejects.toMatchObject({
      code,
    });
    expect(fs.readFileSync(path.join(at.dir, 'run.json'), 'utf8')).toBe(before);
  });

  test('what a restore kept is nothing to go on from, and what to do is told', async () => {
    const at = await world();
    const { rescueId } = await at.manager.restore(RUN);
    for (const work of ['planResume', 'resume']) {
      const asked = at.manager[/** @type {'resume'} */ (work)](RUN, { checkpoint: rescueId });
      await expect(asked).rejects.toMatchObject({
        code: 'ERR_CHECKPOINT_NOT_FOUND',
        message: expect.stringContaining(`put it back (waymark restore ${RUN} ${rescueId})`),
      });
    }
  });

  test('a run without checkpoints, and a workflow that is broken', async () => {
    const at = await world();
    addRun(path.dirname(at.dir), 'empty');
    await expect(at.manager.planResume('empty')).rejects.toMatchObject({
      code: 'ERR_NO_CHECKPOINT',
    });
    at.put('flow.yaml', 'steps: [');
    await expect(planned(at)).rejects.toMatchObject({ code: 'ERR_WORKFLOW_INVALID' });
  });

  test.each([
    [{ environment: [] }, 'environment must be false or an object'],
    [{ environment: { nonsense: 1 } }, 'environment.nonsense is not known'],
    [{ environment: { ports: { api: 0 } } }, 'environment.ports must be'],
    [{ environment: { tools: { a: 1 } } }, 'environment.tools must be'],
    [{ environment: { timeoutMs: 0 } }, 'environment.timeoutMs must be'],
    [{ environment: { timeoutMs: 3e9 } }, 'environment.timeoutMs must be'],
    [{ environment: { variables: ['failed'] } }, 'environment.variables must be'],
    [{ environment: { ports: { failed: 3000 } } }, 'environment.ports must be'],
    [{ environment: { tools: ['failed'] } }, 'environment.tools must be'],
    [{ environment: { collectors: { failed: 'x.mjs' } } }, 'environment.collectors must be'],
    [{ environment: { expires: '999999999w' } }, 'environment.expires must be'],
    [{ environment: { expires: '2026-99' } }, 'environment.expires must be'],
    [{ environment: { expires: '7x' } }, 'environment.expires must be'],
  ])('%j of a manager', (options, problem) => {
    expect(() => new waymark.CheckpointManager(/** @type {any} */ (options))).toThrow(problem);
  });

  test.each([
    [{ resume: [] }, 'resume must be an object'],
    [{ resume: { nonsense: 1 } }, 'resume.nonsense is not known'],
    [{ resume: { policy: { head_moved: 'never' } } }, 'resume.policy.head_moved must be'],
    [{ environment: { ports: 3 } }, 'environment.ports must be'],
  ])('waymark.config.json with %j', async (config, problem) => {
    const at = await world();
    at.put('waymark.config.json', JSON.stringify(config));
    await expect(planned(at)).rejects.toMatchObject({
      code: 'ERR_CONFIG_INVALID',
      message: expect.stringContaining(problem),
    });
  });
});

describe('collectors', () => {
  const HANGS = 'export default () => { for (;;); };';
  const NEVER = 'export default () => new Promise(() => { setInterval(() => {}, 1000); });';
  const THROWS = "export default () => { throw new Error('no such thing'); };";
  const TELLS = 'export default ({ runId }) => ({ runId, n: 1 });';

  /** @param {World} at */
  const modules = (at) => {
    const all = {
      hangs: HANGS,
      never: NEVER,
      throws: THROWS,
      tells: TELLS,
      ends: 'process.exit();',
    };
    for (const [name, text] of Object.entries(all)) at.put(`own/${name}.mjs`, text);
    return Object.fromEntries(Object.keys(all).map((name) => [name, `own/${name}.mjs`]));
  };
  const told = {
    hangs: { failed: expect.stringMatching(/no answer/) },
    never: { failed: expect.stringMatching(/no answer/) },
    throws: { failed: 'no such thing' },
    tells: { runId: RUN, n: 1 },
    ends: { failed: expect.any(String) },
  };

  test('of your own: one that hangs, throws or ends costs its part, never the checkpoint', async () => {
    const at = await world();
    const options = { environment: { collectors: modules(at), timeoutMs: 8000 } };
    const made = await at.manager.create(RUN, 1.5, {}, options);
    expect((await at.manager.show(RUN, made.checkpointId)).checkpoint.environment).toMatchObject({
      custom: told,
      host: { platform: process.platform },
    });
  });

  test('the same, blocking', async () => {
    const at = await world();
    const options = { environment: { collectors: modules(at), timeoutMs: 8000 } };
    const made = at.manager.createSync(RUN, 1.5, {}, options);
    expect(at.manager.showSync(RUN, made.checkpointId).checkpoint.environment).toMatchObject({
      custom: told,
      git: { branch: 'feature' },
      workflow: { steps: FLOW },
      ports: { api: { port: at.port } },
    });
  });

  test('functions; what they tell is compared', async () => {
    let schema = 4;
    const collectors = {
      db: async () => ({ schema }),
      hangs: () => new Promise(() => {}),
      bad: () => undefined,
    };
    const at = await world({ environment: { collectors, timeoutMs: 2000 } });
    const { environment } = (await at.manager.show(RUN, at.made.checkpointId)).checkpoint;
    expect(environment).toMatchObject({
      custom: {
        db: { schema: 4 },
        hangs: { failed: 'no answer in 2000 ms' },
        bad: { failed: 'it told nothing' },
      },
    });
    const own = (await planned(at)).reasons.filter(({ kind }) => kind === 'before');
    expect(own.map(({ details }) => details.name)).toEqual(
      expect.arrayContaining(['hangs', 'bad']),
    );
    schema = 5;
    expect(named(await planned(at))).toContain('custom_changed');
    const made = at.manager.createSync(RUN, 1.5);
    const blocking = at.manager.showSync(RUN, made.checkpointId).checkpoint.environment;
    expect(blocking).toMatchObject({
      custom: { db: { failed: expect.stringMatching(/asynchronous/) } },
    });
  });

  test('tools: where they are, which version they say they are, and what hangs', async () => {
    const at = await world();
    const tool = path.join(at.home, 'tool');
    const write = (/** @type {string} */ text) => {
      fs.writeFileSync(tool, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    };
    write('echo tool 1');
    const tools = {
      [tool]: ['--version'],
      git: /** @type {const} */ (true),
      'no-such-tool-1': /** @type {const} */ (true),
    };
    await at.manager.create(RUN, 1.5, {}, { environment: { tools } });
    expect((await planned(at)).verdict).toBe('ready');
    write('echo tool 2');
    expect(named(await planned(at))).toEqual(['version_changed.tool']);
    fs.rmSync(tool);
    expect(named(await planned(at))).toEqual(['tool_missing']);
    write('sleep 60');
    const plan = await new waymark.CheckpointManager({
      root: at.root,
      environment: { timeoutMs: 500, workflow: 'flow.yaml' },
    }).planResume(RUN);
    expect(plan.reasons.map(({ details }) => details.name)).toContain(tool);
  });

  test('a tool that ends with a code of its own, and one that hangs', async () => {
    const at = await world();
    const [odd, hangs] = ['odd', 'hangs'].map((name) => path.join(at.home, name));
    fs.writeFileSync(odd, '#!/bin/sh\necho odd 1\nexit 3\n', { mode: 0o755 });
    fs.writeFileSync(hangs, '#!/bin/sh\nexec sleep 60\n', { mode: 0o755 });
    const environment = { tools: { [odd]: ['-v'], [hangs]: ['-v'] }, timeoutMs: 2000 };
    const expected = {
      tools: {
        [odd]: { version: 'odd 1' },
        [hangs]: { path: hangs, failed: expect.stringMatching(/no answer/) },
      },
    };
    const one = await at.manager.create(RUN, 1.5, {}, { environment });
    expect((await at.manager.show(RUN, one.checkpointId)).environment).toMatchObject(expected);
    const two = at.manager.createSync(RUN, 1.5, {}, { environment });
    expect(at.manager.showSync(RUN, two.checkpointId).environment).toMatchObject(expected);
  });

  test('two names of one port, and one who only looks', async () => {
    const at = await world();
    const ports = { api: at.port, same: at.port };
    await at.manager.create(RUN, 1.5, {}, { environment: { ports } });
    const plans = await Promise.all([planned(at), planned(at), planned(at)]);
    expect(plans.map(({ verdict }) => verdict)).toEqual(['ready', 'ready', 'ready']);
  });

  test('what is nested too deep is refused as its part', async () => {
    const at = await world();
    let deep = {};
    for (let n = 0; n < 40; n += 1) deep = { deep };
    at.put('own/deep.mjs', `export default () => JSON.parse('${JSON.stringify(deep)}');`);
    const collectors = { deep: () => deep, module: 'own/deep.mjs' };
    const told = { deep: { failed: expect.stringMatching(/deeper/) } };
    const custom = { ...told, module: told.deep };
    const one = await at.manager.create(RUN, 1.5, {}, { environment: { collectors } });
    expect((await at.manager.show(RUN, one.checkpointId)).environment).toMatchObject({ custom });
    const two = at.manager.createSync(RUN, 1.5, {}, { environment: { collectors } });
    expect(at.manager.showSync(RUN, two.checkpointId).environment).toMatchObject({ custom });
  });

  test('a module that throws when nobody waits for it any more ends nothing', async () => {
    const at = await world();
    const late = 'setTimeout(() => { throw new Error("late"); }, 100);';
    at.put('own/late.mjs', `export default () => new Promise(() => { ${late} });`);
    const script = `
      const { CheckpointManager } = require(${JSON.stringify(repo)});
      const environment = { collectors: { late: 'own/late.mjs' }, timeoutMs: 1000 };
      const manager = new CheckpointManager({ root: ${JSON.stringify(at.root)} });
      manager.createSync('${RUN}', 1.5, {}, { environment });
      setTimeout(() => process.stdout.write('alive'), 300);`;
    const child = spawn(process.execPath, ['-e', script]);
    let said = '';
    child.stdout.on('data', (text) => {
      said += text;
    });
    await once(child, 'close');
    expect([child.exitCode, said]).toEqual([0, 'alive']);
  });

  test('what is too large for a manifest gives way', async () => {
    const at = await world();
    const collectors = { large: () => 'x'.repeat(70_000) };
    const made = await at.manager.create(RUN, 1.5, {}, { environment: { collectors } });
    expect((await at.manager.show(RUN, made.checkpointId)).checkpoint.environment).toMatchObject({
      custom: { failed: expect.stringMatching(/too large/) },
      git: { branch: 'feature' },
    });
  });

  test('none at all', async () => {
    const at = await world({ config: { environment: false } });
    const bare = new waymark.CheckpointManager({ root: at.root });
    const made = await bare.create(RUN, 1.5);
    expect((await bare.show(RUN, made.checkpointId)).checkpoint.environment ?? null).toBeNull();
  });
});

describe('tasks', () => {
  test('without a workflow file: the ends of their trees', async () => {
    const at = await world({ environment: { workflow: undefined } });
    const failing = at.manager.task(RUN, 'build', async (task) => {
      await task.step('get', () => 1);
      await task.parallel([
        { name: 'a', run: () => 1 },
        {
          name: 'b',
          run: () => {
            throw new Error('no');
          },
        },
      ]);
    });
    await expect(failing).rejects.toThrow('no');
    expect((await planned(at)).steps).toEqual({
      done: ['build/get', 'build/a'],
      skipped: [],
      todo: ['build/b'],
      frontier: ['build/b'],
    });
  });
});

describe('the command', () => {
  const clean = { GATE_TEST: 'one' };
  /** @param {World} at @param {string[]} words */
  const run = (at, ...words) => command(['resume', RUN, ...words], { cwd: at.root, env: clean });
  /** @param {World} at */
  const configured = (at) =>
    at.put(
      'waymark.config.json',
      JSON.stringify({
        capture: { workspace: ['src'] },
        environment: {
          ...SLOW,
          worktree: '../tree',
          workflow: 'flow.yaml',
          ports: { api: at.port },
        },
        resume: { policy: { head_moved: 'stale' } },
      }),
    );

  test('--plan tells, and its exit code says whether it can go on', async () => {
    const at = await world();
    const good = await run(at, '--plan');
    expect(good).toMatchObject({ code: 0, stderr: '' });
    expect(good.stdout).toContain(
      `run r1 at ${at.made.checkpointId} (step 1): ready\n  done: 0, 1`,
    );
    expect(good.stdout).not.toContain('nothing is left to do');
    const last = await at.manager.create(RUN, 2, {});
    expect((await run(at, '--plan')).stdout).toContain('nothing is left to do');
    fs.rmSync(last.path);
    fs.rmSync(at.worktree, { recursive: true });
    const bad = await run(at, '--plan');
    expect(bad.code).toBe(1);
    expect(bad.stdout).toContain('stale  worktree_deleted: the worktree');
    expect(bad.stdout).toContain('--option recreate_worktree: makes the worktree again');
    expect(bad.stdout).toContain('--accept worktree_deleted: go on as it is');
    const json = await run(at, '--plan', '--json');
    expect(JSON.parse(json.stdout)).toMatchObject({
      verdict: 'stale',
      reasons: [{ type: 'worktree_deleted', severity: 'stale' }],
      options: expect.arrayContaining([expect.objectContaining({ option: 'abandon' })]),
    });
  });

  test('refuses what is stale, and goes on with --accept and --option', async () => {
    const at = await world();
    configured(at);
    await occupy(at.port);
    git(at.worktree, 'commit', '-q', '--allow-empty', '-m', 'more');
    const show = [
      '--',
      process.execPath,
      '-e',
      'console.log(process.env.WAYMARK_PORT_API, ...process.argv.slice(1))',
    ];
    const refused = await run(at, ...show);
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain('ERR_RUN_STALE');
    expect((await run(at, '--dry-run')).stderr).toContain('ERR_RUN_STALE');
    const done = await run(
      at,
      '--accept',
      'head_moved',
      '--option',
      'new_ports',
      ...show,
      '--',
      'x',
    );
    expect(done.code).toBe(0);
    const { api } = readJson(path.join(at.dir, 'run.json')).metadata.ports;
    expect(done.stdout).toContain(`${api} `);
    expect(done.stderr).toContain('accepted: the worktree');
    expect(done.stderr).toContain('new_ports: took free ports');
  });

  test('--option abandon needs no command', async () => {
    const at = await world();
    const done = await run(at, '--option', 'abandon');
    expect(done).toMatchObject({ code: 0 });
    expect(done.stdout).toContain('run r1 is abandoned');
  });
});

describe('the preload', () => {
  const preload = pathToFileURL(path.join(repo, 'lib', 'register.mjs')).href;
  const RUNNER = `
    import fs from 'node:fs';
    const words = process.argv.slice(2);
    const run = words[words.indexOf('--run-id') + 1];
    fs.writeFileSync('.claude/context/runs/' + run + '/left.txt', words.join(' '));
    console.log(words.join(' '), process.env.WAYMARK_PORT_API ?? '');`;

  /** @param {World} at @param {Record<string, string>} [env] @param {string[]} words */
  const step = (at, env = {}, ...words) => {
    at.put('runner.mjs', RUNNER);
    const own = ['runner.mjs', '--workflow', 'flow.yaml', '--run-id', RUN, '--resume', ...words];
    return new Promise((resolve) => {
      execFile(
        process.execPath,
        ['--import', preload, ...own],
        { cwd: at.root, env: { ...process.env, GATE_TEST: 'one', ...env } },
        (error, stdout, stderr) => resolve({ code: error?.code ?? 0, stdout, stderr }),
      );
    });
  };
  /** @param {World} at */
  const configured = (at) =>
    at.put(
      'waymark.config.json',
      JSON.stringify({ environment: { ...SLOW, worktree: '../tree', ports: { api: at.port } } }),
    );

  test('a stale run is refused, and goes on with WAYMARK_ACCEPT and WAYMARK_OPTION', async () => {
    const at = await world();
    configured(at);
    await occupy(at.port);
    git(at.worktree, 'checkout', '-q', '-b', 'elsewhere');
    const refused = await step(at);
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain('ERR_RUN_STALE');
    expect(refused.stderr).toContain('WAYMARK_ACCEPT');
    expect(await step(at, {}, '--dry-run')).toMatchObject({ code: 1, stdout: '' });
    const env = { WAYMARK_ACCEPT: 'head_moved', WAYMARK_OPTION: 'new_ports' };
    const done = await step(at, env);
    expect(done).toMatchObject({ code: 0 });
    const { api } = readJson(path.join(at.dir, 'run.json')).metadata.ports;
    expect(done.stdout).toBe(`--workflow flow.yaml --run-id r1 --step 1.5 ${api}\n`);
    const [newest] = await at.manager.list(RUN);
    expect(newest.step).toBe(1.5);
    expect((await at.manager.show(RUN, newest.checkpointId)).checkpoint.environment).toMatchObject({
      accepted: [{ type: 'head_moved', kind: 'branch' }],
      did: [{ option: 'new_ports' }],
      ports: { api: { port: api } },
      workflow: { path: 'flow.yaml' },
    });
  });

  test('a fork goes on in the place of the run', async () => {
    const at = await world();
    configured(at);
    const done = await step(at, { WAYMARK_OPTION: 'fork=r2' });
    expect(done).toMatchObject({
      code: 0,
      stdout: '--workflow flow.yaml --step 1.5 --run-id r2 \n',
    });
    const [newest] = await at.manager.list('r2');
    expect(newest.step).toBe(1.5);
    expect((await at.manager.list(RUN))[0].checkpointId).toBe(at.made.checkpointId);
  });
});

test('docs/resume.md has the tables', () => {
  const text = fs.readFileSync(path.join(repo, 'docs', 'resume.md'), 'utf8');
  const { reasons, options } = tables.tables();
  expect(text).toContain(reasons);
  expect(text).toContain(options);
});
