// Leases between processes: one holds a run, who is dead or stopped is followed, and what he still writes is refused.

import { spawn } from 'node:child_process';
import path from 'node:path';
import readline from 'node:readline';
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import waymark from '../index.js';
import { project, removeAll, repo } from './support/project.mjs';

const { CheckpointManager } = waymark;

/** @type {ReturnType<typeof project>} */
let at;
/** @type {waymark.CheckpointManager} */
let manager;
/** @type {import('node:child_process').ChildProcess[]} */
const children = [];
beforeEach(() => {
  at = project();
  manager = new CheckpointManager({ runsDir: at.runsDir });
});
afterEach(() => {
  delete process.env.WAYMARK_LEASE;
  for (const child of children.splice(0)) child.kill('SIGKILL');
});
afterAll(removeAll);

/** Another process, which does as it is told. @param {{ ttlMs?: number, keep?: boolean, env?: object }} [options] */
async function other({ ttlMs = 60_000, keep = true, env = {} } = {}) {
  const script = path.join(repo, '__test__', 'support', 'lease_holder.mjs');
  const child = spawn(
    process.execPath,
    [script, at.runsDir, at.runId, String(ttlMs), String(keep)],
    { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...env } },
  );
  children.push(child);
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => JSON.parse((await lines.next()).value);
  expect(await next()).toBe('ready');
  /** @param {string} act */
  const act = async (act) => {
    child.stdin.write(`${act}\n`);
    return next();
  };
  const ended = new Promise((resolve) => child.once('exit', resolve));
  return { child, act, ended };
}

/** @param {() => boolean} holds */
async function until(holds) {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 10));
}

test('a lease is taken, read, renewed and given back', async () => {
  expect(await manager.readLease(at.runId)).toBeNull();
  const lease = await manager.lease(at.runId, { holder: 'runner', ttlMs: 5_000 });
  const found = manager.readLeaseSync(at.runId);
  expect(found).toMatchObject({
    token: lease.token,
    holder: 'runner',
    pid: process.pid,
    live: true,
    why: 'live',
  });
  expect(found?.since).toBe(lease.since);
  expect(lease.lost).toBe(false);
  const { expires } = await lease.renew();
  expect(Date.parse(expires)).toBeGreaterThanOrEqual(Date.parse(lease.since) + 5_000);
  // What this process records goes by the lease; by whichever manager.
  const second = new CheckpointManager({ runsDir: at.runsDir });
  const { checkpointId } = second.createSync(at.runId, 1);
  await second.activate(at.runId, checkpointId);
  await second.restore(at.runId);
  await second.undo(at.runId);
  expect(await lease.release()).toBe(true);
  expect(lease.lost).toBe(true);
  expect(lease.releaseSync()).toBe(false);
  expect(manager.readLeaseSync(at.runId)).toMatchObject({ live: false, why: 'released' });
  second.createSync(at.runId, 2);
});

test('a second one is refused, and told who holds it', async () => {
  const lease = manager.leaseSync(at.runId, { holder: 'first', keep: false });
  await expect(manager.lease(at.runId)).rejects.toMatchObject({
    code: 'ERR_LEASE_HELD',
    runId: at.runId,
    lease: { token: lease.token, holder: 'first', pid: process.pid, since: lease.since },
    message: expect.stringContaining(`first (process ${process.pid} on `),
  });
  const prolonged = manager.leaseSync(at.runId, { token: lease.token, keep: false });
  expect(prolonged.token).toBe(lease.token);
  const taken = manager.leaseSync(at.runId, { force: true, keep: false });
  expect(taken.token).toBeGreaterThan(lease.token);
  expect(taken.tookOver).toMatchObject({ holder: 'first', why: 'live' });
  expect(lease.lost).toBe(true);
  await expect(lease.renew()).rejects.toMatchObject({ code: 'ERR_LEASE_LOST' });
  taken.releaseSync();
});

test('bad options', () => {
  for (const options of [{ ttlMs: 1 }, { ttlMs: 1.5 }, { holder: ' ' }, { holder: 'a\nb' }]) {
    expect(() => manager.leaseSync(at.runId, options)).toThrow(
      expect.objectContaining({ code: 'ERR_OPTION_INVALID' }),
    );
  }
  // @ts-expect-error: a misspelt name
  expect(() => manager.leaseSync(at.runId, { ttl: 1 })).toThrow(
    expect.objectContaining({ code: 'ERR_OPTION_UNKNOWN' }),
  );
  process.env.WAYMARK_LEASE = 'nonsense';
  expect(() => manager.createSync(at.runId, 1)).toThrow(
    expect.objectContaining({ code: 'ERR_OPTION_INVALID' }),
  );
});

describe('between processes', () => {
  test('who holds no lease is refused, a child by the environment is not', async () => {
    const lease = manager.leaseSync(at.runId);
    const stranger = await other();
    expect(await stranger.act('create')).toEqual({ code: 'ERR_LEASE_HELD' });
    expect(await stranger.act('take')).toEqual({ code: 'ERR_LEASE_HELD' });
    const child = await other({ env: lease.environment });
    expect((await child.act('create')).done).toMatch(/^checkpoint-step-1-/);
    lease.releaseSync();
    expect((await stranger.act('create')).done).toMatch(/^checkpoint-step-1-/);
  });

  test('a dead holder is followed at once', async () => {
    const holder = await other();
    const { done } = await holder.act('take');
    expect(() => manager.leaseSync(at.runId)).toThrow(
      expect.objectContaining({ code: 'ERR_LEASE_HELD' }),
    );
    holder.child.kill('SIGKILL');
    await holder.ended;
    const lease = manager.leaseSync(at.runId, { keep: false });
    expect(lease.tookOver).toMatchObject({ token: done.token, why: 'dead' });
    lease.releaseSync();
  });

  test('it is renewed while the event loop is blocked', async () => {
    const holder = await other({ ttlMs: 200 });
    await holder.act('take');
    const blocked = holder.act('block');
    await until(() => {
      const found = manager.readLeaseSync(at.runId);
      expect(found?.why).toBe('live');
      return Date.parse(found?.renewed ?? '') - Date.parse(found?.since ?? '') > 300;
    });
    await blocked;
  });

  test('a stopped holder loses it, and what it then writes is refused', async () => {
    const holder = await other({ ttlMs: 200 });
    await holder.act('take');
    expect((await holder.act('create')).done).toBeDefined();
    holder.child.kill('SIGSTOP');
    await until(() => manager.readLeaseSync(at.runId)?.why === 'expired');
    const lease = manager.leaseSync(at.runId);
    expect(lease.tookOver).toMatchObject({ holder: 'holder', why: 'expired' });
    holder.child.kill('SIGCONT');
    expect(await holder.act('create')).toEqual({ code: 'ERR_LEASE_LOST' });
    expect(await holder.act('lost')).toEqual({ done: true });
    expect(await holder.act('release')).toEqual({ done: false });
    expect(manager.readLeaseSync(at.runId)).toMatchObject({ token: lease.token, live: true });
    lease.releaseSync();
  });
});
