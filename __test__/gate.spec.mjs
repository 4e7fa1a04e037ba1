// The gate without a world around it: what differs, how much it matters, what is offered, where a workflow stands.

import { describe, expect, test } from '@jest/globals';
import gate from '../lib/gate.js';
import descent from '../lib/resume-descent.js';
import resuming from '../lib/resume-run.js';
import steps from '../lib/resume-steps.js';
import tables from '../lib/resume-table.js';
import workflow from '../lib/workflow.js';

const AT = Date.parse('2026-03-01T12:00:00.000Z');
const TAKEN = '2026-03-01T11:00:00.000Z';

const git = {
  folder: '.',
  inner: '',
  worktree: '/p',
  commonDir: '/p/.git',
  branch: 'main',
  head: 'a'.repeat(40),
  dirty: [],
  dirtyCount: 0,
  truncated: false,
};
const was = {
  format: 1,
  taken: TAKEN,
  git,
  workflow: { path: 'flow.yaml', hash: 'one', steps: [0, 1, 2, 3] },
  versions: { node: '20.1.0', waymark: '0.1.0', locks: { 'package-lock.json': 'x' } },
  ports: { api: { port: 3000, at: '/metadata/ports/api' } },
  variables: { HOME: 'h1', GONE: 'g1', NEW: null },
  tools: { node: { path: '/bin/node', version: '20' }, tar: { path: '/bin/tar' } },
  files: { 'a.json': 'f1', 'b.json': 'f2', 'c.json': null },
  host: { name: 'one', platform: 'linux', arch: 'x64' },
  custom: { db: { schema: 4 } },
};
const known = [0, 1, 2, 3].map((step) => ({ step, outputs: [] }));

/** @param {object} now @param {object} [more] @param {any} [policy] */
function compared(now, more = {}, policy = {}) {
  const world = {
    was,
    now: { ...was, ...now },
    checkpoint: { id: 'c', step: 1, timestamp: TAKEN, partial: 0 },
    steps: known,
    at: AT,
    found: [],
    ...more,
  };
  return gate.compare(/** @type {any} */ (world), policy);
}

/** @param {object} now @param {object} [more] @param {any} [policy] */
const names = (now, more, policy) =>
  compared(now, more, policy).map(({ type, kind }) => (kind ? `${type}.${kind}` : type));

describe('compare', () => {
  test('nothing differs', () => expect(names({})).toEqual([]));

  test.each([
    ['worktree_deleted', { git: { gone: 'missing' } }],
    ['branch_gone', { git: { ...git, branchThere: false } }],
    ['head_moved.branch', { git: { ...git, branch: 'other' } }],
    ['head_moved.branch', { git: { ...git, branch: null, head: 'b'.repeat(40) } }],
    ['head_moved.ahead', { git: { ...git, head: 'b', moved: 'ahead' } }],
    ['head_moved.behind', { git: { ...git, head: 'b', moved: 'behind' } }],
    ['head_moved.diverged', { git: { ...git, head: 'b', moved: 'diverged' } }],
    ['head_moved.unknown', { git: { ...git, head: 'b' } }],
    [
      'dirty_files.uncaptured',
      { git: { ...git, dirty: [{ path: 'x', status: 'M' }], dirtyCount: 1 } },
    ],
    ['port_in_use', { ports: { api: { port: 3000, free: false } } }],
    ['workflow_changed.content', { workflow: { ...was.workflow, hash: 'two' } }],
    ['workflow_changed.ahead', { workflow: { path: 'f', hash: 'two', steps: [0, 1, 2, 2.5, 3] } }],
    ['workflow_changed.behind', { workflow: { path: 'f', hash: 'two', steps: [0, 0.5, 1, 2, 3] } }],
    ['workflow_changed.behind', { workflow: { path: 'f', hash: 'two', steps: [1, 0, 2, 3] } }],
    ['version_changed.node', { versions: { ...was.versions, node: '22.0.0' } }],
    ['version_changed.minor', { versions: { ...was.versions, node: '20.2.0' } }],
    ['version_changed.waymark', { versions: { ...was.versions, waymark: '0.2.0' } }],
    ['version_changed.lock', { versions: { ...was.versions, locks: {} } }],
    [
      'version_changed.tool',
      { tools: { ...was.tools, node: { path: '/bin/node', version: '22' } } },
    ],
    ['tool_missing', { tools: { ...was.tools, tar: null } }],
    ['variable_changed.changed', { variables: { ...was.variables, HOME: 'h2' } }],
    ['variable_changed.missing', { variables: { ...was.variables, GONE: null } }],
    ['variable_changed.added', { variables: { ...was.variables, NEW: 'n' } }],
    ['file_changed.changed', { files: { ...was.files, 'a.json': 'f3' } }],
    ['file_changed.missing', { files: { ...was.files, 'b.json': null } }],
    ['file_changed.added', { files: { ...was.files, 'c.json': 'f4' } }],
    ['host_changed.name', { host: { ...was.host, name: 'two' } }],
    ['host_changed.platform', { host: { ...was.host, arch: 'arm64' } }],
    ['custom_changed', { custom: { db: { schema: 5 } } }],
    ['not_known.now', { git: { failed: 'no answer in 1000 ms' } }],
    ['not_known.now', { custom: { db: { failed: 'no' } } }],
  ])('%s', (name, now) => expect(names(now)).toEqual([name]));

  test('a worktree and its branch can both be gone', () => {
    expect(names({ git: { gone: 'missing', branchThere: false } })).toEqual([
      'worktree_deleted',
      'branch_gone',
    ]);
  });

  test('what was dirty then is no difference; what is not any more is one, unless commits explain it', () => {
    const dirty = [{ path: 'x', status: 'M' }];
    const then = { ...was, git: { ...git, dirty, dirtyCount: 1 } };
    expect(names({ git: { ...git, dirty, dirtyCount: 1 } }, { was: then })).toEqual([]);
    expect(names({ git }, { was: then })).toEqual(['dirty_files.uncaptured']);
    expect(names({ git: { ...git, head: 'b', moved: 'ahead' } }, { was: then })).toEqual([
      'head_moved.ahead',
    ]);
  });

  test('cut lists are compared as far as both reach, and by their counts', () => {
    /** @param {string[]} paths @param {number} [dirtyCount] */
    const cut = (paths, dirtyCount = 900) => ({
      ...git,
      dirty: paths.map((path) => ({ path, status: 'modified' })),
      dirtyCount,
    });
    const then = { ...was, git: cut(['b', 'd']) };
    expect(names({ git: cut(['b', 'd']) }, { was: then })).toEqual([]);
    // One came before them, one of them went.
    expect(names({ git: cut(['a', 'b']) }, { was: then })).toEqual(['dirty_files.uncaptured']);
    expect(names({ git: cut(['b', 'x']) }, { was: then })).toEqual(['dirty_files.uncaptured']);
    expect(names({ git: cut(['b', 'd'], 901) }, { was: then })).toEqual(['dirty_files.uncaptured']);
    // Commits explain that there are fewer.
    const moved = { ...cut(['b', 'd'], 899), head: 'b', moved: 'ahead' };
    expect(names({ git: moved }, { was: then })).toEqual(['head_moved.ahead']);
  });

  test('what took too long to be looked for is not known', () => {
    const some = { ...git, dirty: [{ path: 'x', status: 'modified' }], dirtyCount: 1 };
    expect(names({ git: { ...some, truncated: true } })).toEqual(['not_known.now']);
    const then = { ...was, git: { ...some, truncated: true } };
    expect(names({ git }, { was: then })).toEqual(['not_known.before']);
  });

  test('a branch that is gone does not hide that another one is checked out', () => {
    const now = { ...git, branch: 'other', head: 'b', branchThere: false, moved: 'ahead' };
    expect(names({ git: now })).toEqual(['branch_gone', 'head_moved.branch']);
    const unborn = { ...git, head: null, branchThere: false };
    expect(names({ git: unborn })).toEqual(['branch_gone']);
  });

  test('parts that are none of ours can not be compared', () => {
    for (const part of [{ versions: { node: '20' } }, { ports: { api: null } }, { git: {} }]) {
      expect(names({}, { was: { ...was, ...part } })).toEqual(['not_known.before']);
    }
  });

  test('a tool that can not say its version', () => {
    const tool = { path: '/bin/node', asked: ['-v'], failed: 'no answer in 800 ms' };
    const then = { ...was, tools: { node: tool } };
    expect(names({ tools: { ...was.tools, node: tool } })).toEqual(['not_known.now']);
    expect(names({}, { was: then })).toEqual(['not_known.before']);
  });

  test('what could not be told then', () => {
    expect(names({}, { was: { ...was, git: { failed: 'hung' } } })).toEqual(['not_known.before']);
    expect(names({}, { was: undefined })).toEqual(['not_known.fingerprint']);
    expect(names({}, { was: { format: 1, taken: TAKEN } })).toEqual([]);
  });

  test('age: by the policy, by its own word, and clocks that were set back', () => {
    expect(names({}, {}, { maxAgeMs: 3_600_000 })).toEqual([]);
    expect(names({}, {}, { maxAgeMs: 3_599_999 })).toEqual(['expired.age']);
    expect(names({}, { was: { ...was, expires: '2026-03-01T11:59:59.999Z' } })).toEqual([
      'expired.age',
    ]);
    expect(names({}, { at: Date.parse(TAKEN) - 60_000 })).toEqual([]);
    expect(names({}, { at: Date.parse(TAKEN) - 60_001 })).toEqual(['expired.future']);
  });

  test('a step that the workflow does not list, and a partial checkpoint', () => {
    const checkpoint = { id: 'c', step: 9, timestamp: TAKEN, partial: 0 };
    expect(names({}, { checkpoint })).toEqual(['step_missing']);
    expect(names({}, { checkpoint: { ...checkpoint, step: 1, partial: 2 } })).toEqual([
      'checkpoint_partial',
    ]);
  });
});

describe('weigh', () => {
  const one = (/** @type {string} */ type, /** @type {string} */ kind = '') =>
    gate.difference(type, kind === '' ? undefined : kind, 'why');
  /** @param {any[]} differences @param {any} [policy] @param {string[]} [accept] */
  const weighed = (differences, policy = {}, accept = []) =>
    gate.weigh(differences, policy, gate.checkAccept(accept));

  test('the gravest decides', () => {
    expect(weighed([]).verdict).toBe('ready');
    expect(weighed([one('host_changed', 'name')]).verdict).toBe('ready');
    expect(weighed([one('dirty_files', 'captured')]).verdict).toBe('ready-with-changes');
    const { verdict, reasons } = weighed([one('dirty_files', 'captured'), one('port_in_use')]);
    expect(verdict).toBe('stale');
    expect(reasons.map(({ type }) => type)).toEqual(['port_in_use', 'dirty_files']);
  });

  test('the policy says otherwise, by type, and by type and kind before that', () => {
    const moved = [one('head_moved', 'behind')];
    expect(weighed(moved, { head_moved: 'change' }).verdict).toBe('ready-with-changes');
    expect(weighed(moved, { head_moved: 'ignore' }).reasons).toEqual([]);
    const both = { head_moved: 'ignore', 'head_moved.behind': 'stale' };
    expect(weighed(moved, both).verdict).toBe('stale');
  });

  test('what is accepted does not hold the run up, and is said', () => {
    const found = [one('head_moved', 'behind'), one('port_in_use')];
    expect(weighed(found, {}, ['head_moved']).verdict).toBe('stale');
    const { verdict, reasons } = weighed(found, {}, ['head_moved.behind', 'port_in_use']);
    expect(verdict).toBe('ready-with-changes');
    expect(reasons.every(({ accepted }) => accepted)).toBe(true);
    expect(weighed(found, {}, ['head_moved.ahead', 'port_in_use']).verdict).toBe('stale');
  });

  test.each(['nonsense', 'head_moved.up', 'port_in_use.x', 'head_moved.ahead.x', 'toString'])(
    'accept %s is no reason',
    (name) => {
      expect(() => gate.checkAccept([name])).toThrow(
        expect.objectContaining({ code: 'ERR_OPTION_INVALID' }),
      );
    },
  );

  test.each(['lease_held', 'step_missing', 'state_damaged.checkpoint', 'dirty_files.conflict'])(
    '%s can not be accepted, nor ignored by a policy',
    (name) => {
      expect(() => gate.checkAccept([name])).toThrow(/can't be accepted/);
      expect(gate.policyProblem({ [name]: 'change' })).toMatch(/can't be anything but/);
      const [type, kind] = name.split('.');
      expect(weighed([one(type, kind)], { [type]: 'ignore' }).verdict).toBe('stale');
    },
  );

  test.each([
    [[], 'must be an object'],
    [{ maxAge: 5 }, 'maxAge must be a span'],
    [{ nonsense: 'stale' }, 'is no reason'],
    [{ 'head_moved.up': 'stale' }, 'is no reason'],
    [{ head_moved: 'bad' }, 'must be "ignore"'],
  ])('policy %j', (policy, problem) => expect(gate.policyProblem(policy)).toContain(problem));

  test('what resolves an open reason is offered, with what it resolves', () => {
    const { reasons } = weighed([
      one('port_in_use'),
      one('lease_held'),
      one('host_changed', 'name'),
    ]);
    expect(gate.offered(reasons).map(({ option, resolves }) => [option, resolves])).toEqual([
      ['accept', ['port_in_use']],
      ['new_ports', ['port_in_use']],
      ['fork', ['lease_held']],
      ['wait', ['lease_held']],
      ['abandon', ['port_in_use']],
    ]);
  });

  test('every option of the tables is one', () => {
    for (const { options } of Object.values(tables.REASONS)) {
      for (const option of options) expect(Object.keys(tables.OPTIONS)).toContain(option);
    }
    const used = new Set(Object.values(tables.REASONS).flatMap(({ options }) => options));
    expect([...used, 'accept'].sort()).toEqual(Object.keys(tables.OPTIONS).sort());
  });
});

describe('steps', () => {
  /** @param {string} text */
  const flow = (text) => workflow.stepsIn(`steps:\n${text}`, 'flow.yaml');
  const row = flow([0, 1, 1.5, 2].map((step) => `  - step: ${step}`).join('\n'));
  /** @param {any} list @param {any} at @param {any[]} had @param {boolean} [whole] */
  const at = (list, at, had, whole = true) =>
    steps.progressAt(list, at, { known: new Set(had), whole });

  test('one after the other', () => {
    expect(at(row, 1, [0, 1])).toEqual({
      done: [0, 1],
      skipped: [],
      todo: [1.5, 2],
      frontier: [1.5],
    });
    expect(at(row, 2, [0, 1, 1.5, 2])).toMatchObject({ todo: [], frontier: [] });
    expect(at(row, undefined, [])).toMatchObject({ done: [], frontier: [0] });
    expect(at(row, 9, [])).toBeUndefined();
  });

  test('a step without a checkpoint was passed over, if all of the history is known', () => {
    expect(at(row, 1.5, [0, 1.5])).toMatchObject({ done: [0, 1.5], skipped: [1] });
    expect(at(row, 1.5, [1.5], false)).toMatchObject({ done: [0, 1, 1.5], skipped: [] });
  });

  test('what had a checkpoint later is to do once more', () => {
    expect(at(row, 1, [0, 1, 1.5, 2])).toMatchObject({ todo: [1.5, 2], frontier: [1.5] });
  });

  test('a parallel group: those that have no checkpoint of their own are left', () => {
    const wide = flow(
      ['0', 'a, parallel_group: g', 'b, parallel_group: g', 'c, parallel_group: g', '9']
        .map((step) => `  - { step: ${step} }`)
        .join('\n'),
    );
    expect(at(wide, 'b', [0, 'b'])).toEqual({
      done: [0, 'b'],
      skipped: [],
      todo: ['a', 'c', 9],
      frontier: ['a', 'c'],
    });
    expect(at(wide, 'c', [0, 'a', 'b', 'c'])).toMatchObject({ todo: [9], frontier: [9] });
    expect(at(wide, 0, [0])).toMatchObject({ frontier: ['a', 'b', 'c'] });
  });

  test('neighbours with parallel: true are a group', () => {
    const wide = flow(
      ['0', '1, parallel: true', '2, parallel: true', '3', '4, parallel: true']
        .map((step) => `  - { step: ${step} }`)
        .join('\n'),
    );
    expect(at(wide, 0, [0])).toMatchObject({ frontier: [1, 2] });
    expect(at(wide, 2, [0, 2])).toMatchObject({ frontier: [1] });
    expect(at(wide, 3, [0, 1, 2, 3])).toMatchObject({ frontier: [4] });
  });

  test('steps that name what they wait for', () => {
    const graph = flow(
      ['a', 'b, depends_on: [a]', 'c, depends_on: [a]', 'd, needs: [b, c]', 'e, needs: a']
        .map((step) => `  - { step: ${step} }`)
        .join('\n'),
    );
    expect(at(graph, 'c', ['a', 'c'])).toEqual({
      done: ['a', 'c'],
      skipped: [],
      todo: ['b', 'd', 'e'],
      frontier: ['b', 'e'],
    });
    expect(at(graph, 'd', ['a', 'b', 'c', 'd'])).toMatchObject({ frontier: ['e'] });
    expect(() => flow('  - { step: a, needs: [b] }\n  - { step: b, needs: [a] }')).toThrow(
      'step a waits for itself',
    );
    expect(() => flow('  - { step: a, needs: [a] }')).toThrow('step a waits for itself');
    // What names nothing waits for all that stands before it.
    expect(() => flow('  - { step: a, needs: [b] }\n  - { step: b }')).toThrow(
      'step a waits for itself (a step waits for what its depends_on or needs names, and where it has neither for all steps before it)',
    );
  });

  test('the ends of a tree of tasks', () => {
    /** @type {any} */
    const roots = [
      {
        name: 'build',
        kind: 'task',
        status: 'failed',
        steps: [
          { name: 'get', kind: 'step', status: 'completed' },
          { name: 'x', kind: 'step', status: 'failed' },
          { name: 'y', kind: 'step', status: 'running' },
          { name: 'in', kind: 'task', status: 'completed', steps: [] },
        ],
      },
      { name: 'ship', kind: 'task', status: 'running', steps: [] },
    ];
    expect(steps.progressOfTasks(roots)).toEqual({
      done: ['build/get', 'build/in'],
      skipped: [],
      todo: ['build/x', 'build/y', 'ship'],
      frontier: ['build/x', 'build/y', 'ship'],
    });
  });
});

describe('descent', () => {
  /** @param {number} sequence @param {number} step @param {number} [parent] */
  const row = (sequence, step, parent) =>
    /** @type {any} */ ({
      checkpointId: `c${sequence}`,
      step,
      sequence,
      ...(parent === undefined ? {} : { parentCheckpointId: `c${parent}` }),
    });
  /** @param {string} event @param {number} sequence @param {number} [step] */
  const event = (event, sequence, step) => ({
    event,
    checkpoint: `c${sequence}`,
    data: { sequence, step: `${step}` },
  });
  /** @param {any[]} rows @param {any[]} [events] */
  const told = (rows, events = []) => {
    const { known, whole } = descent.descentOf(rows[0], rows, events);
    return [[...known].sort(), whole];
  };

  test('only what it descends from', () => {
    const rows = [row(3, 3, 1), row(2, 2, 1), row(1, 1)];
    expect(told(rows)).toEqual([[1, 3], true]);
    expect(told(rows.slice(1))).toEqual([[1, 2], true]);
  });

  test('what was pruned is in the log, with what was restored in between', () => {
    const events = [event('created', 1, 1), event('created', 2, 2)];
    const back = [...events, event('restored', 1), event('created', 3, 3)];
    expect(told([row(4, 4, 3)], [...back, event('created', 4, 4)])).toEqual([[1, 3, 4], true]);
    expect(told([row(3, 3, 2)], events)).toEqual([[1, 2, 3], true]);
  });

  test('where it is not known how they hang together, all before counts', () => {
    expect(told([row(5, 5, 4), row(2, 2, 1), row(1, 1)])).toEqual([[1, 2, 5], false]);
    const undone = [event('created', 1, 1), event('undone', 1), event('created', 2, 2)];
    expect(told([row(3, 3, 2)], undone)).toEqual([[1, 2, 3], false]);
    // Those of other tools stand in a row; two that lead to each other are none.
    const foreign = [
      { checkpointId: 'b', step: 1 },
      { checkpointId: 'a', step: 0 },
    ];
    expect(told(foreign)).toEqual([[0, 1], false]);
    expect(told([row(2, 2, 3), row(3, 3, 2)])).toEqual([[2, 3], false]);
  });
});

describe('the table', () => {
  test('every option of a reason is one, and every option does something', () => {
    const { accept: _, ...options } = tables.OPTIONS;
    expect(Object.keys(resuming.ACTS).sort()).toEqual(Object.keys(options).sort());
    const offered = Object.values(tables.REASONS).flatMap((row) => row.options);
    expect([...new Set(offered)].sort()).toEqual(Object.keys(options).sort());
  });

  test.each(Object.entries(tables.REASONS))(
    '%s names only kinds and options that it has',
    (_, row) => {
      const kinds = Object.keys(row.kinds ?? {});
      for (const [option, only] of Object.entries(row.only ?? {})) {
        expect(row.options).toContain(option);
        expect(kinds).toEqual(expect.arrayContaining([...only]));
      }
    },
  );
});
