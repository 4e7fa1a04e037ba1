// Records of a run and of the store: what is kept, what a change is about, what is refused.

import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from '@jest/globals';
import waymark from '../index.js';
import { project, removeAll } from './support/project.mjs';

const { CheckpointManager } = waymark;

/** @type {ReturnType<typeof project>} */
let at;
/** @type {waymark.CheckpointManager} */
let manager;
beforeEach(() => {
  at = project();
  manager = new CheckpointManager({ runsDir: at.runsDir, store: at.place('.waymark') });
});
afterAll(removeAll);

describe.each(['run', 'store'])('records of a %s', (whose) => {
  const records = () => manager.records(whose === 'run' ? at.runId : null);
  const folder = () =>
    whose === 'run'
      ? path.join(at.dir, 'checkpoints', '.waymark', 'records')
      : at.place('.waymark/records');

  test('are written, read, listed and removed', async () => {
    const one = records();
    expect(await one.read('run-state')).toBeNull();
    expect(one.readSync('run-state')).toBeNull();
    expect(one.listSync()).toEqual([]);
    const value = { state: 'paused', ünï: [1.5, null, '\ud83d\ude00'] };
    const { revision } = await one.write('run-state', value);
    expect(one.readSync('run-state')).toEqual({ value, revision });
    expect(await one.read('run-state')).toEqual({ value, revision });
    const file = path.join(folder(), 'run-state.json');
    expect(JSON.parse(fs.readFileSync(file, 'utf8')).value).toEqual(value);
    one.writeSync('breaker-dev.1', 1);
    expect(await one.list()).toEqual(['breaker-dev.1', 'run-state']);
    expect(await one.remove('run-state', { revision })).toBe(true);
    expect(one.removeSync('run-state')).toBe(false);
    expect(one.listSync()).toEqual(['breaker-dev.1']);
  });

  test('change only from what was read', async () => {
    const one = records();
    const first = one.writeSync('x', 1, { revision: null });
    expect(() => one.writeSync('x', 2, { revision: null })).toThrow(
      expect.objectContaining({ code: 'ERR_RECORD_CHANGED' }),
    );
    const second = await one.write('x', 2, { revision: first.revision });
    await expect(one.write('x', 3, { revision: first.revision })).rejects.toMatchObject({
      code: 'ERR_RECORD_CHANGED',
      message: expect.stringContaining(second.revision),
    });
    await expect(one.remove('x', { revision: first.revision })).rejects.toMatchObject({
      code: 'ERR_RECORD_CHANGED',
    });
  });

  test("change() loses nobody's change", async () => {
    const one = records();
    const up = (/** @type {number | undefined} */ count) => (count ?? 0) + 1;
    await Promise.all(Array.from({ length: 20 }, () => one.change('count', up)));
    expect(one.changeSync('count', up)).toBe(21);
    expect(one.changeSync('count', () => undefined)).toBe(21);
    expect(one.readSync('count')?.value).toBe(21);
    expect(await one.change('none', () => undefined)).toBeUndefined();
    expect(one.readSync('none')).toBeNull();
  });

  test('tell damage, and can be written over', async () => {
    const one = records();
    one.writeSync('x', { a: 1 });
    const file = path.join(folder(), 'x.json');
    fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace('1}', '2}'));
    expect(() => one.readSync('x')).toThrow(
      expect.objectContaining({ code: 'ERR_RECORD_DAMAGED', path: file }),
    );
    await expect(one.change('x', () => 1)).rejects.toMatchObject({ code: 'ERR_RECORD_DAMAGED' });
    one.writeSync('x', { a: 3 });
    expect(one.readSync('x')?.value).toEqual({ a: 3 });
  });

  test('refuse bad input', async () => {
    const one = records();
    for (const name of ['', '../x', 'A', 'a/b', 'x'.repeat(65)]) {
      expect(() => one.writeSync(name, 1)).toThrow(
        expect.objectContaining({ code: 'ERR_OPTION_INVALID' }),
      );
    }
    expect(() => one.writeSync('x', 'a'.repeat(1024 * 1024))).toThrow(
      expect.objectContaining({ code: 'ERR_RECORD_TOO_LARGE' }),
    );
    for (const value of [undefined, () => {}, 1n]) {
      await expect(one.write('x', value)).rejects.toMatchObject({ code: 'ERR_OPTION_INVALID' });
    }
    // @ts-expect-error: a number is no revision
    expect(() => one.writeSync('x', 1, { revision: 1 })).toThrow(
      expect.objectContaining({ code: 'ERR_OPTION_INVALID' }),
    );
    // @ts-expect-error: a misspelt name
    expect(() => one.writeSync('x', 1, { revison: 'x' })).toThrow(
      expect.objectContaining({ code: 'ERR_OPTION_UNKNOWN' }),
    );
    expect(one.listSync()).toEqual([]);
  });
});

test('records of a run that is not there', () => {
  expect(() => manager.records('nobody').readSync('x')).toThrow(
    expect.objectContaining({ code: 'ERR_RUN_NOT_FOUND' }),
  );
});
