// The audit log from JavaScript and the command line: reading, following, listening.

import { spawn } from 'node:child_process';
import channels from 'node:diagnostics_channel';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import api from '../index.js';
import { start, waymark } from './support/cli.mjs';
import { killed } from './support/killed.mjs';
import { addRun, project, removeAll, repo } from './support/project.mjs';

afterAll(removeAll);

/** @type {ReturnType<typeof project>} */
let at;
/** @type {api.CheckpointManager} */
let manager;

beforeEach(() => {
  at = project({ runId: 'demo' });
  manager = new api.CheckpointManager({ runsDir: at.runsDir });
});

/** @param {api.AuditEvent[]} events */
const brief = (events) => events.map(({ seq, event, checkpoint }) => [seq, event, checkpoint]);
const folder = () => path.join(at.root, '.waymark', 'events');
const segment = () => path.join(folder(), '0000000000000001.ndjson');

describe('reading', () => {
  test('what was done, by whom, and how long it took', async () => {
    const created = await manager.create('demo', 1.5, { any: 'state' });
    expect(created.warnings).toEqual([]);
    const [event, ...others] = await manager.events();
    expect(others).toEqual([]);
    expect(event).toEqual({
      seq: 1,
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]{12}Z$/),
      event: 'created',
      run: 'demo',
      runs: at.runsDir,
      checkpoint: created.checkpointId,
      pid: process.pid,
      host: expect.stringMatching(/./),
      user: expect.stringMatching(/./),
      data: {
        operation: 'create',
        step: '1.5',
        sequence: 1,
        bytes: created.size,
        state_bytes: 15,
        added_bytes: expect.any(Number),
        took_us: expect.any(Number),
      },
      prev: '0'.repeat(32),
      hash: expect.stringMatching(/^[0-9a-f]{32}$/),
    });
    expect(event.data.took_us).toBeGreaterThan(100);
    const line = fs.readFileSync(segment(), 'utf8');
    expect(line).toBe(`${JSON.stringify(event)}\n`);
  });

  test('every verb that changes something, in order', async () => {
    const ids = [1, 2, 3].map((step) => manager.createSync('demo', step).checkpointId);
    await manager.prune('demo', { keepLast: 1 });
    manager.restoreSync('demo');
    const undone = await manager.undo('demo');
    const archive = at.place('demo.wmk');
    await manager.exportRun('demo', archive);
    at.change({ status: 'failed', updated_at: '2020-01-01T00:00:00.000Z' });
    manager.cleanupSync({ maxAgeDays: 1, report: false });
    await manager.importArchive(archive);
    await expect(manager.restore('demo', { step: 9 })).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT_NOT_FOUND',
    });
    const events = manager.eventsSync();
    expect(brief(events)).toEqual([
      [1, 'created', ids[0]],
      [2, 'created', ids[1]],
      [3, 'created', ids[2]],
      [4, 'pruned', ids[1]],
      [5, 'pruned', ids[0]],
      [6, 'restored', ids[2]],
      [7, 'undone', undone.checkpointId],
      [8, 'cleaned', undefined],
      [9, 'imported', ids[2]],
      [10, 'operation_failed', undefined],
    ]);
    expect(events[9].data).toMatchObject({
      operation: 'restore',
      code: 'ERR_CHECKPOINT_NOT_FOUND',
    });
    expect(events[7].run).toBe('demo');
    expect(await manager.verify('demo')).toMatchObject({ ok: true, events: [] });
    expect(fs.readdirSync(path.join(folder(), 'open'))).toEqual([]);
  });

  test('from a position, of a run, of some kinds', async () => {
    addRun(at.runsDir, 'other');
    for (const run of ['demo', 'other', 'demo']) manager.createSync(run, 1);
    manager.pruneSync('demo', { keepLast: 1 });
    const seqs = async (/** @type {api.EventsOptions} */ options) =>
      (await manager.events(options)).map(({ seq }) => seq);
    expect(await seqs({ after: 0 })).toEqual([1, 2, 3, 4]);
    expect(await seqs({ after: 1, limit: 2 })).toEqual([2, 3]);
    expect(await seqs({ limit: 2 })).toEqual([3, 4]);
    expect(await seqs({ limit: 0 })).toEqual([]);
    expect(await seqs({ after: 4 })).toEqual([]);
    expect(await seqs({ runId: 'other' })).toEqual([2]);
    expect(await seqs({ runId: 'demo', limit: 1, after: 1 })).toEqual([3]);
    expect(await seqs({ kinds: ['pruned'] })).toEqual([4]);
    await expect(manager.events({ after: 5 })).rejects.toMatchObject({ code: 'ERR_EVENTS_AHEAD' });
    const lines = fs.readFileSync(segment(), 'utf8').split('\n');
    fs.rmSync(segment());
    fs.writeFileSync(path.join(folder(), '0000000000000003.ndjson'), lines.slice(2).join('\n'));
    expect(await seqs({})).toEqual([3, 4]);
    expect(() => manager.eventsSync({ after: 1 })).toThrow(
      expect.objectContaining({ code: 'ERR_EVENTS_GONE', message: expect.stringContaining('3') }),
    );
  });

  test('a project without a log has no events', async () => {
    expect(await manager.events()).toEqual([]);
    expect(manager.eventsSync({ after: 0 })).toEqual([]);
    expect(fs.existsSync(path.join(at.root, '.waymark'))).toBe(false);
  });

  test.each([
    [{ after: -1 }, 'ERR_OPTION_INVALID'],
    [{ after: 1.5 }, 'ERR_OPTION_INVALID'],
    [{ limit: '3' }, 'ERR_OPTION_INVALID'],
    [{ kinds: ['Created'] }, 'ERR_OPTION_INVALID'],
    [{ kinds: 'created' }, 'ERR_OPTION_INVALID'],
    [{ runId: '../x' }, 'ERR_RUN_ID_INVALID'],
    [{ since: 1 }, 'ERR_OPTION_UNKNOWN'],
  ])('%j is refused', async (options, code) => {
    const wrong = /** @type {any} */ (options);
    await expect(manager.events(wrong)).rejects.toMatchObject({ code });
    expect(() => manager.eventsSync(wrong)).toThrow(expect.objectContaining({ code }));
    await expect(async () => manager.followEvents(wrong)).rejects.toThrow();
  });
});

describe('listening', () => {
  test('to what this manager does, as the log has it', async () => {
    /** @type {api.AuditEvent[]} */
    const heard = [];
    const listener = (/** @type {api.AuditEvent} */ event) => heard.push(event);
    manager.on('created', listener).on('pruned', listener).on('operation_failed', listener);
    new api.CheckpointManager({ runsDir: at.runsDir }).createSync('demo', 0);
    manager.createSync('demo', 1);
    expect(heard).toEqual(manager.eventsSync({ after: 1 }));
    await manager.create('demo', 2);
    await manager.prune('demo', { keepLast: 1 });
    await expect(manager.create('nobody', 1)).rejects.toThrow();
    expect(heard).toEqual(manager.eventsSync({ after: 1 }));
    expect(heard.map(({ event }) => event)).toEqual([
      'created',
      'created',
      'pruned',
      'pruned',
      'operation_failed',
    ]);
    manager.off('created', listener);
    manager.createSync('demo', 3);
    expect(heard.length).toBe(5);
  });

  test('once', () => {
    let heard = 0;
    manager.once('created', () => {
      heard += 1;
    });
    manager.createSync('demo', 1);
    manager.createSync('demo', 2);
    expect(heard).toBe(1);
  });

  test('a listener that throws, or rejects, fails nothing', async () => {
    const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    let heard = 0;
    manager.on('created', () => {
      throw new Error('a listener of the test');
    });
    manager.on('created', async () => {
      throw new Error('an async listener of the test');
    });
    manager.on('created', () => {
      heard += 1;
    });
    manager.createSync('demo', 1);
    await manager.create('demo', 2);
    await new Promise((done) => setImmediate(done));
    const told = warned.mock.calls.map(([text]) => String(text));
    warned.mockRestore();
    expect(heard).toBe(2);
    expect(told.filter((text) => text.includes('a listener of the test')).length).toBe(2);
    expect(told.filter((text) => text.includes('an async listener')).length).toBe(2);
  });

  test('by a diagnostics channel', () => {
    /** @type {unknown[]} */
    const heard = [];
    const onMessage = (/** @type {unknown} */ message) => heard.push(message);
    channels.subscribe('waymark:created', onMessage);
    manager.createSync('demo', 1);
    channels.unsubscribe('waymark:created', onMessage);
    manager.createSync('demo', 2);
    expect(heard).toEqual(manager.eventsSync({ after: 0, limit: 1 }));
  });

  test('what is no event is refused', () => {
    const wrong = /** @type {any} */ (manager);
    for (const call of [
      () => wrong.on('Created', () => {}),
      () => wrong.once('error', () => {}),
      () => wrong.on('created', 'x'),
      () => wrong.off('created'),
    ]) {
      expect(call).toThrow(expect.objectContaining({ code: 'ERR_OPTION_INVALID' }));
    }
  });
});

describe('following', () => {
  test('what happens from the call on, until it is aborted', async () => {
    manager.createSync('demo', 1);
    const stop = new AbortController();
    const follower = manager.followEvents({ signal: stop.signal, pollMs: 5 });
    manager.createSync('demo', 2);
    const first = await follower.next();
    expect(first.value).toMatchObject({ seq: 2, event: 'created' });
    const next = follower.next();
    const created = await manager.create('demo', 3);
    expect((await next).value).toMatchObject({ seq: 3, checkpoint: created.checkpointId });
    const last = follower.next();
    stop.abort();
    expect(await last).toEqual({ value: undefined, done: true });
  });

  test('from a position, of some kinds', async () => {
    for (const step of [1, 2, 3]) manager.createSync('demo', step);
    manager.pruneSync('demo', { keepLast: 1 });
    const seqs = [];
    for await (const { seq } of manager.followEvents({ after: 0, kinds: ['pruned'] })) {
      seqs.push(seq);
      if (seqs.length === 2) break;
    }
    expect(seqs).toEqual([4, 5]);
    const ahead = manager.followEvents({ after: 9 });
    await expect(ahead.next()).rejects.toMatchObject({ code: 'ERR_EVENTS_AHEAD' });
  });

  test('nobody who only has a follower is kept alive', async () => {
    const script = `const { CheckpointManager } = require(${JSON.stringify(repo)});
      const follower = new CheckpointManager({ runsDir: ${JSON.stringify(at.runsDir)} }).followEvents();
      process.stdout.write(typeof follower.next);`;
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [code] = await once(child, 'close');
    expect(code).toBe(0);
  });

  test('a follower that is killed again and again sees every event once', async () => {
    const file = at.place('handled.ndjson');
    const busy = path.join(repo, '__test__', 'support', 'events_busy.mjs');
    const script = path.join(repo, '__test__', 'support', 'events_follow.mjs');
    const child = spawn(process.execPath, [busy, at.runsDir, 'demo', '150'], { stdio: 'ignore' });
    let working = true;
    const done = once(child, 'exit').then(() => {
      working = false;
    });
    let rounds = 0;
    while (working || rounds < 4) {
      await killed(script, [at.runsDir, file], Math.random() * 200);
      rounds += 1;
    }
    await done;
    await killed(script, [at.runsDir, file], 1500);
    const handled = fs.readFileSync(file, 'utf8').trimEnd().split('\n');
    const all = manager.eventsSync({ limit: 1000 }).map((event) => JSON.stringify(event));
    expect(all.length).toBe(150 + 147);
    expect(handled).toEqual(all);
  }, 120_000);
});

test('four processes that append at once lose nothing', async () => {
  const busy = path.join(repo, '__test__', 'support', 'events_busy.mjs');
  const runs = ['a', 'b', 'c', 'd'];
  for (const run of runs) addRun(at.runsDir, run);
  const told = await Promise.all(
    runs.map(async (run) => {
      const child = spawn(process.execPath, [busy, at.runsDir, run, '40'], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let text = '';
      child.stdout.on('data', (data) => {
        text += data;
      });
      await once(child, 'close');
      return text.trimEnd().split('\n');
    }),
  );
  const events = manager.eventsSync({ after: 0 });
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, place) => place + 1));
  runs.forEach((run, place) => {
    const own = events.filter((event) => event.run === run);
    const created = own.filter(({ event }) => event === 'created');
    expect(created.map(({ checkpoint }) => `created ${checkpoint} 0`)).toEqual(told[place]);
    expect(own.length).toBe(40 + 37);
    expect(new Set(own.map(({ pid }) => pid)).size).toBe(1);
  });
  expect(manager.verifySync('a')).toMatchObject({ ok: true, events: [] });
}, 60_000);

describe('a log that is not as it was written', () => {
  test('is found by verify, passed over by readers, and not mended', async () => {
    for (const step of [1, 2, 3]) manager.createSync('demo', step);
    const text = fs.readFileSync(segment(), 'utf8');
    fs.writeFileSync(segment(), text.replace('"step":"2"', '"step":"7"'));
    const broken = { damage: 'event_altered', path: segment(), seq: 2, reason: expect.any(String) };
    expect(await manager.verify('demo')).toMatchObject({ ok: false, events: [broken] });
    expect(manager.verifyStoreSync()).toMatchObject({ ok: false, events: [broken] });
    const found = await waymark(['verify', 'demo'], { cwd: at.root });
    expect(found.code).toBe(3);
    expect(found.stdout).toContain(`event_altered: event 2 in ${segment()}`);
    const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    expect(manager.eventsSync().map(({ seq }) => seq)).toEqual([1, 3]);
    expect(warned.mock.calls).toEqual([
      [expect.stringMatching(/^1 lines? /), expect.objectContaining({ code: 'WAYMARK_EVENTS' })],
    ]);
    warned.mockRestore();
    manager.createSync('demo', 4);
    expect(manager.verifySync('demo').events).toEqual([broken]);
  });

  test('where it should be something else lies: the checkpoint is taken, with a warning', () => {
    fs.mkdirSync(path.join(at.root, '.waymark'));
    fs.writeFileSync(folder(), 'no folder');
    /** @type {api.AuditEvent[]} */
    const heard = [];
    manager.on('created', (event) => heard.push(event));
    const { warnings, checkpointId } = manager.createSync('demo', 1);
    expect(warnings).toEqual([expect.stringContaining('the audit log was not written')]);
    expect(heard).toMatchObject([{ event: 'created', checkpoint: checkpointId, run: 'demo' }]);
    expect(heard[0].seq).toBeUndefined();
  });
});

describe('the command', () => {
  test('shows events', async () => {
    manager.createSync('demo', 1);
    manager.createSync('demo', 2);
    const shown = await waymark(['events', '--limit', '1'], { cwd: at.root });
    expect(shown).toMatchObject({ code: 0, stderr: '' });
    expect(shown.stdout).toMatch(/^SEQ {2}TIME .*\n {2}2 {2}.* created {2}demo .*step=2\n$/);
    const json = await waymark(['events', '--json', '--after', '0'], { cwd: at.root });
    expect(JSON.parse(json.stdout)).toEqual(manager.eventsSync());
    const none = await waymark(['events', '--kind', 'pruned,restored'], { cwd: at.root });
    expect(none).toMatchObject({ code: 0, stdout: 'no events\n' });
    const ahead = await waymark(['events', '--after', '7'], { cwd: at.root });
    expect(ahead.code).toBe(1);
    expect(ahead.stderr).toContain('ERR_EVENTS_AHEAD');
    const wrong = await waymark(['events', '--kind', 'all'], { cwd: at.root });
    expect(wrong.code).toBe(1);
    const more = await waymark(['events', '--follow', '--limit', '0'], { cwd: at.root });
    expect(more.stderr).toContain('--limit');
  });

  test('follows, one line of JSON each', async () => {
    manager.createSync('demo', 1);
    const words = ['events', '--follow', '--json', '--after', '0', '--limit', '3'];
    const child = start(words, { cwd: at.root });
    let text = '';
    child.stdout.on('data', (data) => {
      text += data;
      if (text.trimEnd().split('\n').length === 1) manager.createSync('demo', 2);
      if (text.trimEnd().split('\n').length === 2) manager.createSync('demo', 3);
    });
    const [code] = await once(child, 'close');
    expect(code).toBe(0);
    const lines = text.trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toEqual(manager.eventsSync());
  });

  test('is stopped by Ctrl-C', async () => {
    manager.createSync('demo', 1);
    const child = start(['events', '--follow', '--after', '0'], { cwd: at.root });
    child.stdout.once('data', () => child.kill('SIGINT'));
    const [code] = await once(child, 'close');
    expect(code).toBe(130);
  });

  test('ends when nobody reads any more', async () => {
    manager.createSync('demo', 1);
    const child = start(['events', '--follow', '--after', '0'], { cwd: at.root });
    child.stdout.once('data', () => child.stdout.destroy());
    const ended = once(child, 'exit');
    let step = 1;
    const timer = setInterval(() => {
      step += 1;
      manager.createSync('demo', step);
    }, 50);
    const [code] = await ended;
    clearInterval(timer);
    expect(code).toBe(0);
  });
});
