// What is said of a checkpoint, its states, pins: every move, every wrong word, the schema that is published.

import fs from 'node:fs';
import path from 'node:path';
import vm from 'node:vm';
import { afterAll, beforeEach, describe, expect, test } from '@jest/globals';
import waymark from '../index.js';
import { waymark as command } from './support/cli.mjs';
import { project, readJson, removeAll, repo } from './support/project.mjs';

const { CheckpointManager, WaymarkError } = waymark;

/** @type {ReturnType<typeof project>} */
let at;
/** @type {waymark.CheckpointManager} */
let manager;
beforeEach(() => {
  at = project();
  manager = new CheckpointManager({ runsDir: at.runsDir });
});
afterAll(removeAll);

/** @param {() => unknown} work @returns {Promise<waymark.WaymarkError>} */
async function refused(work) {
  try {
    await work();
  } catch (error) {
    expect(error).toBeInstanceOf(WaymarkError);
    return /** @type {waymark.WaymarkError} */ (error);
  }
  throw new Error('it was not refused');
}

/** Every fact there is. @type {waymark.Facts} */
const EVERYTHING = {
  type: 'manual',
  trigger: 'quality_gate',
  scope: 'agent',
  priority: 'high',
  class: 'milestone',
  phase: 'build',
  task: 'draft',
  worker: 'coder',
  author: 'ada',
  labels: ['beta', 'ünï'],
  description: 'before the gate',
  progress: { done: 1.5, total: 3, summary: 'half' },
  requirements: { versions: { node: '22' }, files: ['a'], services: ['db'] },
  parent: { run: 'other', checkpoint: 'c1' },
  subtasks: [{ run: 'part' }],
  data: { tokens: 12, nested: { list: [1, null, 'x'] } },
};

/** What brings a checkpoint into a state. @type {Record<string, (id: string) => Promise<unknown>>} */
const INTO = {
  created: async () => {},
  active: (id) => manager.activate(at.runId, id),
  completed: async (id) => {
    await manager.activate(at.runId, id);
    await manager.complete(at.runId, id);
  },
  failed: (id) => manager.fail(at.runId, id, 'no'),
  restored: async (id) => {
    await manager.fail(at.runId, id, 'no');
    await manager.restore(at.runId, { checkpointId: id });
  },
};
const MOVES = /** @type {const} */ ({
  active: 'activateSync',
  completed: 'completeSync',
  failed: 'failSync',
});
const LEGAL = ['created active', 'active completed', 'active failed', 'created failed'];

describe('states', () => {
  for (const [from, into] of Object.entries(INTO)) {
    for (const [to, verb] of Object.entries(MOVES)) {
      const legal = LEGAL.includes(`${from} ${to}`) || `${from} ${to}` === 'restored active';
      test(`${from} to ${to}: ${legal ? 'done' : 'refused'}`, async () => {
        const { checkpointId: id } = manager.createSync(at.runId, 1);
        await into(id);
        expect(manager.listSync(at.runId)[0].state).toBe(from);
        if (legal) {
          expect(manager[verb](at.runId, id)).toMatchObject({ checkpointId: id, state: to });
        } else {
          const error = await refused(() => manager[verb](at.runId, id));
          expect(error).toMatchObject({ code: 'ERR_STATE_TRANSITION', checkpointId: id });
          expect(error.message).toContain(from);
          expect(error.message).toContain(to);
        }
        expect(manager.showSync(at.runId, id).state).toBe(legal ? to : from);
      });
    }
  }

  test('a failure is kept with all that the error tells', async () => {
    const { checkpointId: id } = manager.createSync(at.runId, 1);
    const error = Object.assign(new RangeError('too far'), { code: 'E_FAR', details: { at: 7 } });
    await manager.fail(at.runId, id, error, { update: { labels: ['broken'] } });
    const { failure, facts, stateAt } = manager.showSync(at.runId, id);
    expect(failure).toEqual({
      name: 'RangeError',
      message: 'too far',
      code: 'E_FAR',
      stack: error.stack,
      details: { at: 7 },
    });
    expect(facts).toEqual({ labels: ['broken'] });
    expect(Date.parse(String(stateAt))).toBeGreaterThan(0);
    await manager.restore(at.runId, { checkpointId: id });
    expect(manager.listSync(at.runId)[0]).toMatchObject({ state: 'restored', failure });
  });
});

describe('facts', () => {
  test('every one comes back, from the manifest too', async () => {
    const { checkpointId: id, path: file } = await manager.create(
      at.runId,
      1,
      {},
      {
        facts: EVERYTHING,
      },
    );
    expect(manager.listSync(at.runId)[0].facts).toEqual(EVERYTHING);
    expect(readJson(file).facts).toEqual(EVERYTHING);
    expect(manager.verifySync(at.runId)).toMatchObject({ ok: true });
    const before = fs.readFileSync(file);
    const changed = await manager.update(at.runId, id, {
      phase: null,
      progress: { done: 2 },
      data: { tokens: 13 },
    });
    expect(changed.facts).toEqual({
      ...Object.fromEntries(Object.entries(EVERYTHING).filter(([name]) => name !== 'phase')),
      progress: { done: 2, total: 3, summary: 'half' },
      data: { ...EVERYTHING.data, tokens: 13 },
    });
    expect(fs.readFileSync(file)).toEqual(before);
  });

  test('none leave the manifest as it was', () => {
    const { path: file } = manager.createSync(at.runId, 1);
    expect(readJson(file)).not.toHaveProperty('facts');
    expect(manager.listSync(at.runId)[0].facts).toBeUndefined();
  });

  for (const [facts, says] of /** @type {[any, string][]} */ ([
    [{ type: 'auto' }, 'facts.type'],
    [{ kind: 'x' }, 'facts.kind'],
    [{ labels: ['a', 'a'] }, 'facts.labels[1]'],
    [{ labels: 'a' }, 'facts.labels'],
    [{ progress: { done: 3, total: 2 } }, 'facts.progress.done'],
    [{ progress: [1] }, 'facts.progress'],
    [{ parent: { run: '../x' } }, 'facts.parent.run'],
    [{ phase: '' }, 'facts.phase'],
    [{ phase: 'x'.repeat(257) }, 'facts.phase'],
    [{ data: [] }, 'facts.data'],
  ])) {
    test(`${JSON.stringify(facts).slice(0, 40)} is refused`, async () => {
      const error = await refused(() => manager.create(at.runId, 1, {}, { facts }));
      expect(error.code).toBe('ERR_FACTS_INVALID');
      expect(error.message).toContain(`${says} `);
      expect(manager.listSync(at.runId)).toEqual([]);
      const { checkpointId: id } = manager.createSync(at.runId, 1);
      expect((await refused(() => manager.update(at.runId, id, facts))).code).toBe(
        'ERR_FACTS_INVALID',
      );
      expect(manager.showSync(at.runId, id).facts).toBeUndefined();
    });
  }

  test('the schema names what is checked', () => {
    const schema = readJson(path.join(repo, 'schema/facts.schema.json'));
    expect(Object.keys(schema.properties).sort()).toEqual(Object.keys(EVERYTHING).sort());
    expect(schema.additionalProperties).toBe(false);
    const words = schema.$defs.Trigger.oneOf.map((/** @type {any} */ one) => one.const);
    expect(words).toContain('phase_transition');
    for (const trigger of words) {
      manager.createSync(at.runId, 1, {}, { facts: { trigger } });
    }
  });
});

describe('pins and misuse', () => {
  test('a pin is there until it is taken away', async () => {
    const { checkpointId: id } = manager.createSync(at.runId, 1);
    const until = new Date(Date.now() + 60_000);
    expect(await manager.pin(at.runId, id, { reason: 'audit', until })).toMatchObject({
      pin: { reason: 'audit', until: until.toISOString() },
    });
    expect(manager.listSync(at.runId)[0].pin?.reason).toBe('audit');
    expect(manager.unpinSync(at.runId, id).pin).toBeUndefined();
    expect(manager.unpinSync(at.runId, id).pin).toBeUndefined();
  });

  for (const [what, work, code] of /** @type {[string, (id: string) => unknown, string][]} */ ([
    [
      'a pin without a reason',
      (id) => manager.pin(at.runId, id, /** @type {any} */ ({})),
      'ERR_OPTION_INVALID',
    ],
    [
      'a pin for no reason',
      (id) => manager.pin(at.runId, id, { reason: ' ' }),
      'ERR_OPTION_INVALID',
    ],
    [
      'a pin until some day',
      (id) => manager.pin(at.runId, id, { reason: 'x', until: 'soon' }),
      'ERR_OPTION_INVALID',
    ],
    [
      'an unknown option',
      (id) => manager.activate(at.runId, id, /** @type {any} */ ({ x: 1 })),
      'ERR_OPTION_UNKNOWN',
    ],
    [
      'an error that is a number',
      (id) => manager.fail(at.runId, id, /** @type {any} */ (7)),
      'ERR_OPTION_INVALID',
    ],
    [
      'an error of other members',
      (id) => manager.fail(at.runId, id, /** @type {any} */ ({ why: 1 })),
      'ERR_OPTION_INVALID',
    ],
    [
      'an update that is none',
      (id) => manager.update(at.runId, id, /** @type {any} */ ('x')),
      'ERR_FACTS_INVALID',
    ],
    [
      'another checkpoint',
      () => manager.activate(at.runId, 'checkpoint-step-9-9'),
      'ERR_CHECKPOINT_NOT_FOUND',
    ],
    ['another run', () => manager.activate('nobody', 'checkpoint-step-9-9'), 'ERR_RUN_NOT_FOUND'],
  ])) {
    test(`${what} is refused`, async () => {
      const { checkpointId: id } = manager.createSync(at.runId, 1);
      expect((await refused(() => work(id))).code).toBe(code);
    });
  }

  test('a failure is any error, also of another realm', async () => {
    const { checkpointId: id } = manager.createSync(at.runId, 1);
    const error = vm.runInNewContext("Object.assign(new TypeError('no'), { errno: 5, code: 'E' })");
    expect((await manager.fail(at.runId, id, error)).failure).toMatchObject({
      name: 'TypeError',
      message: 'no',
      code: 'E',
    });
  });

  test('a time that no Date can be is refused', async () => {
    const { checkpointId: id } = manager.createSync(at.runId, 1);
    const until = { reason: 'x', until: 1e300 };
    expect((await refused(() => manager.pin(at.runId, id, until))).code).toBe('ERR_OPTION_INVALID');
    for (const from of [8.65e15, '2026-02-31', '2026-13-01T00:00:00Z', '5']) {
      expect((await refused(() => manager.find({ from }))).code).toBe('ERR_OPTION_INVALID');
    }
    expect((await manager.find({ from: '2024-02-29T10:00:00+02:00' })).rows).toHaveLength(1);
    expect((await manager.find({ from: '2024-02' })).rows).toHaveLength(1);
  });

  test('an altered log is found, and healed when asked', async () => {
    const { checkpointId: id } = manager.createSync(at.runId, 1);
    await manager.activate(at.runId, id);
    await manager.pin(at.runId, id, { reason: 'audit' });
    const log = path.join(at.dir, 'checkpoints/.waymark/changes');
    fs.writeFileSync(log, fs.readFileSync(log, 'utf8').replace('audit', 'tidua'));
    expect((await refused(() => manager.unpin(at.runId, id))).code).toBe('ERR_CHANGES_DAMAGED');
    expect(manager.verifySync(at.runId)).toMatchObject({ ok: false, problems: [{ path: log }] });
    const healed = manager.verifySync(at.runId, { heal: true });
    expect(healed.ok).toBe(true);
    expect(healed.warnings.join()).toContain('written anew');
    expect(manager.unpinSync(at.runId, id).state).toBe('active');
  });
});

describe('on the command line', () => {
  const run = (/** @type {string[]} */ ...words) =>
    command(['--runs-dir', at.runsDir, ...words], { cwd: at.root });

  test('create with facts, activate, complete, fail, update, pin, unpin, list, show', async () => {
    const json = async (/** @type {string[]} */ ...words) =>
      JSON.parse((await run(...words, '--json')).stdout);
    const { checkpointId: id } = await json(
      'create',
      at.runId,
      '--step',
      '1',
      '--class',
      'milestone',
      '--label',
      'beta',
    );
    expect(await json('activate', at.runId, id)).toMatchObject({ state: 'active' });
    expect(await json('update', at.runId, id, '--facts', '{"phase":"b"}')).toMatchObject({
      facts: { class: 'milestone', labels: ['beta'], phase: 'b' },
    });
    expect(await json('pin', at.runId, id, '--reason', 'audit')).toMatchObject({
      pin: { reason: 'audit' },
    });
    expect((await run('list', at.runId)).stdout).toContain('active, pinned');
    expect((await run('show', at.runId, id)).stdout).toMatch(/pinned\s+audit/);
    expect((await json('unpin', at.runId, id)).pin).toBeUndefined();
    expect(await json('complete', at.runId, id)).toMatchObject({ state: 'completed' });
    const failed = await run('fail', at.runId, id, '--message', 'x');
    expect(failed.code).toBe(1);
    expect(failed.stderr).toContain('ERR_STATE_TRANSITION');
    expect((await run('create', at.runId, '--step', '2', '--facts', 'x')).code).toBe(1);
  });
});
