// What differs: two checkpoints, and one against the disk; by the API and by the command.

import fs from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { run as diffCommand } from '../cli/commands/diff.mjs';
import api from '../index.js';
import { waymark } from './support/cli.mjs';
import { oldCheckpoint, project, readJson, removeAll, writeJson } from './support/project.mjs';

/** @type {ReturnType<typeof project>} */
let at;
/** @type {api.CheckpointManager} */
let manager;

const CAPTURE = { workspace: ['src'] };

beforeEach(() => {
  at = project({ runId: 'demo' });
  fs.mkdirSync(path.join(at.root, 'src', 'deep'), { recursive: true });
  manager = new api.CheckpointManager({ runsDir: at.runsDir, capture: CAPTURE });
  put('src/a.txt', 'one\ntwo\nthree\n');
  put('src/deep/b.txt', 'b\n');
});
afterEach(removeAll);
afterAll(removeAll);

/** @param {Parameters<typeof at.place>} words */
const place = (...words) => at.place(...words);
/** @param {Parameters<typeof at.put>} words */
const put = (...words) => at.put(...words);
/** @param {number} step @param {unknown} [state] */
const create = (step, state = { at: step }) => manager.createSync('demo', step, state).checkpointId;
/** @param {Parameters<typeof at.change>} words */
const change = (...words) => at.change(...words);

/** Everything below a folder with its content, but what SQLite changes when it is opened. */
function contents(folder = at.root) {
  /** @type {Record<string, string>} */
  const found = {};
  for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath, entry.name);
    if (entry.isFile() && !/^index\.db|\ufffd/.test(entry.name)) {
      found[file] = fs.readFileSync(file, 'base64');
    }
  }
  return found;
}

/** One line per change. @param {api.DiffResult} found */
const lines = ({ files }) =>
  files.changes.map(({ change: what, path: name, differs }) => {
    const names = Object.entries(differs).filter(([key, value]) => value && key !== 'time');
    return [what, name, ...names.map(([key]) => key)].join(' ');
  });

const settle = () => new Promise((resolve) => setTimeout(resolve, 50));

describe('against the disk', () => {
  test('what is unchanged is equal, and nothing is written', async () => {
    const id = create(1);
    const before = contents();
    const found = await manager.diff('demo', id);
    expect(found).toMatchObject({
      from: { checkpointId: id, step: 1 },
      to: null,
      equal: true,
      state: {
        run: { total: 0 },
        registry: { changes: [], total: 0 },
        stepState: null,
        runFiles: [],
      },
      files: { compared: true, changes: [], total: 0 },
    });
    expect(found.files.roots).toEqual([
      { root: 'run', rootPath: '.claude/context/runs/demo', before: true, after: true },
      { root: 'workspace', rootPath: 'src', before: true, after: true },
    ]);
    expect(manager.diffSync('demo', id)).toEqual(found);
    expect(manager.diffSync('demo', id, null)).toEqual(found);
    expect(contents()).toEqual(before);
  });

  test('changes of every kind', async () => {
    put('src/mode.sh', 'x');
    put('src/.env', 'SECRET=1');
    put('src/becomes', 'a file');
    put('src/gone.txt', 'gone');
    fs.symlinkSync('a.txt', place('src/link'));
    const id = create(1);
    await settle();
    put('src/a.txt', 'one\n2\nthree\n');
    put('src/.env', 'SECRET=2');
    fs.chmodSync(place('src/mode.sh'), 0o755);
    fs.rmSync(place('src/becomes'));
    fs.mkdirSync(place('src/becomes'));
    fs.rmSync(place('src/gone.txt'));
    fs.rmSync(place('src/link'));
    fs.symlinkSync('deep', place('src/link'));
    fs.mkdirSync(place('src/empty'));
    put('src/new.txt', 'new');
    fs.writeFileSync(
      Buffer.concat([Buffer.from(`${place('src')}/`), Buffer.from([0x66, 0xff])]),
      '',
    );
    put('.claude/context/runs/demo/artifacts/artifact-0.md', 'made later');
    const before = contents();
    const found = await manager.diff('demo', id, undefined, { text: true });
    expect(contents()).toEqual(before);
    expect(lines(found)).toEqual([
      'added artifacts/artifact-0.md',
      'changed .env content',
      'changed a.txt content',
      'changed becomes type',
      'added empty',
      'added f\ufffd',
      'removed gone.txt',
      'changed link target',
      'changed mode.sh mode',
      'added new.txt',
    ]);
    expect(found).toMatchObject({
      equal: false,
      files: { total: 10, added: 4, removed: 1, changed: 5 },
    });
    const of = (/** @type {string} */ name) => found.files.changes.find((one) => one.path === name);
    expect(of('a.txt')).toMatchObject({
      root: 'workspace',
      rootPath: 'src',
      before: { kind: 'file', size: 14 },
      after: { kind: 'file', size: 12 },
      text: '@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n',
    });
    expect(of('new.txt')?.text).toBe('@@ -0,0 +1 @@\n+new\n\\ No newline at end of file\n');
    expect(of('gone.txt')?.text).toContain('-gone');
    expect(of('.env')).toMatchObject({ noText: 'secret', before: { kind: 'withheld' } });
    expect(JSON.stringify(found)).not.toContain('SECRET');
    expect(of('becomes')).toMatchObject({ before: { kind: 'file' }, after: { kind: 'directory' } });
    expect(of('link')).toMatchObject({ before: { target: 'a.txt' }, after: { target: 'deep' } });
    expect(of('mode.sh')?.text).toBeUndefined();
    expect(of('f\ufffd')?.pathBytes).toEqual(Buffer.from([0x66, 0xff]));
    expect(of('empty')).toMatchObject({ after: { kind: 'directory' } });
    expect(of('empty')?.before).toBeUndefined();
  });

  test('only chosen paths line by line; binary and large files', async () => {
    put('src/bin', Buffer.from([0, 1]));
    const id = create(1);
    put('src/bin', Buffer.from([0, 2, 3]));
    put('src/a.txt', 'x\n');
    put('src/large', 'x'.repeat(3000));
    const chosen = await manager.diff('demo', id, null, { text: ['a.txt', Buffer.from('bin')] });
    expect(chosen.files.changes.map((one) => [one.path, one.noText ?? typeof one.text])).toEqual([
      ['a.txt', 'string'],
      ['bin', 'binary'],
      ['large', 'undefined'],
    ]);
    const all = await manager.diff('demo', id, null, { text: true, maxBytes: 2000 });
    expect(all.files.changes.at(-1)).toMatchObject({ path: 'large', noText: 'too_large' });
  });

  test('the time alone counts only if asked for', () => {
    const id = create(1);
    fs.utimesSync(place('src/a.txt'), 1, 1);
    expect(manager.diffSync('demo', id).equal).toBe(true);
    const found = manager.diffSync('demo', id, null, { times: true });
    expect(found.files.changes).toMatchObject([
      { path: 'a.txt', differs: { time: true, content: false }, after: { modified: 1000 } },
    ]);
  });

  test('state, by place', () => {
    writeJson(path.join(at.dir, 'state.json'), { messages: ['a', 'b'], n: 1 });
    writeJson(path.join(at.dir, 'gone.json'), 1);
    fs.writeFileSync(path.join(at.dir, 'layout.json'), '{"a":1}');
    fs.writeFileSync(path.join(at.dir, 'torn.json'), '{"a":');
    const id = create(1);
    change({ current_step: 7, extra: { deep: true } });
    const registry = readJson(path.join(at.dir, 'artifact-registry.json'));
    delete registry.artifacts['artifact-0.md'];
    registry.artifacts['new.md'] = { name: 'new.md', path: 'new.md' };
    writeJson(path.join(at.dir, 'artifact-registry.json'), registry);
    writeJson(path.join(at.dir, 'state.json'), { messages: ['a', 'x', 'b'], n: 1 });
    writeJson(path.join(at.dir, 'new.json'), []);
    fs.rmSync(path.join(at.dir, 'gone.json'));
    fs.writeFileSync(path.join(at.dir, 'layout.json'), '{ "a": 1 }');
    fs.writeFileSync(path.join(at.dir, 'torn.json'), '{"a":2');
    const { state, equal } = manager.diffSync('demo', id, null, { text: true });
    expect(equal).toBe(false);
    expect(state.run.changes).toEqual([
      { path: '/current_step', change: 'changed', before: '0', after: '7' },
      { path: '/extra', change: 'added', after: '{"deep":true}' },
    ]);
    expect(state.registry.changes.map((one) => [one.change, one.path])).toEqual([
      ['removed', '/artifacts/artifact-0.md'],
      ['added', '/artifacts/new.md'],
    ]);
    expect(state.runFiles).toMatchObject([
      { name: 'gone.json', change: 'removed', compared: 'bytes' },
      { name: 'layout.json', change: 'changed', compared: 'bytes', total: 0 },
      { name: 'new.json', change: 'added', compared: 'bytes' },
      {
        name: 'state.json',
        compared: 'json',
        total: 1,
        changes: [{ path: '/messages/1', change: 'added', after: '"x"' }],
      },
      { name: 'torn.json', change: 'changed', compared: 'bytes' },
    ]);
    expect(state.runFiles[4].text).toContain('-{"a":\n');
  });

  test('files that the registry names elsewhere', () => {
    put('plan.md', 'plan');
    const registry = readJson(path.join(at.dir, 'artifact-registry.json'));
    registry.artifacts['plan.md'] = { name: 'plan.md', path: 'plan.md' };
    writeJson(path.join(at.dir, 'artifact-registry.json'), registry);
    const id = create(1);
    expect(manager.diffSync('demo', id).equal).toBe(true);
    fs.rmSync(place('plan.md'));
    expect(manager.diffSync('demo', id).files.changes).toMatchObject([
      { root: 'artifacts', rootPath: '.', path: 'plan.md', change: 'removed' },
    ]);
  });

  test('a folder that is gone, a run record that is gone', () => {
    const id = create(1);
    fs.rmSync(place('src'), { recursive: true });
    fs.rmSync(path.join(at.dir, 'run.json'));
    const found = manager.diffSync('demo', id);
    expect(found.files).toMatchObject({ total: 3, removed: 3 });
    expect(found.files.roots[1]).toMatchObject({ root: 'workspace', before: true, after: false });
    expect(found.state.run).toMatchObject({ total: 1, changes: [{ path: '', change: 'removed' }] });
  });

  test('files can be left out', () => {
    const id = create(1);
    put('src/a.txt', 'x');
    const found = manager.diffSync('demo', id, null, { capture: false });
    expect(found.files).toMatchObject({ compared: false, total: 0, roots: [] });
    expect(found.equal).toBe(true);
  });
});

describe('two checkpoints', () => {
  test('files and all of the state', async () => {
    const one = create(1, { same: 1, list: [1, 2], text: 'x'.repeat(50_000) });
    put('src/a.txt', 'one\ntwo\nthree\nfour\n');
    fs.rmSync(place('src/deep'), { recursive: true });
    const two = create(2, { same: 1, list: [1, 2, 3], text: 'y'.repeat(50_000) });
    const found = await manager.diff('demo', one, two, { text: true });
    expect(manager.diffSync('demo', one, two, { text: true })).toEqual(found);
    expect(lines(found)).toEqual(['changed a.txt content', 'removed deep', 'removed deep/b.txt']);
    expect(found.files.changes[0].text).toContain('\n+four\n');
    expect(found.to).toMatchObject({ checkpointId: two, step: 2 });
    expect(found.state).toMatchObject({ run: { total: 0 }, registry: { total: 0 }, runFiles: [] });
    expect(found.state.stepState?.changes.map((change_) => change_.path)).toEqual(
      ['/text', '/list/2'].sort(),
    );
    expect(found.state.stepState?.changes[1].before?.length).toBe(201);
    const back = await manager.diff('demo', two, one);
    expect(back.files).toMatchObject({ added: 2, changed: 1, removed: 0 });
    expect(manager.diffSync('demo', one, one).equal).toBe(true);
  });

  test('limits bound the lists, never the totals', async () => {
    const one = create(1, { list: {} });
    for (let n = 0; n < 30; n += 1) put(`src/f${n}`, 'x');
    const keys = Object.fromEntries(Array.from({ length: 30 }, (_, n) => [`k${n}`, n]));
    const two = create(2, { list: keys });
    const found = await manager.diff('demo', one, two, { limit: 3, fileLimit: 4 });
    expect(found.files).toMatchObject({ total: 30, added: 30 });
    expect(found.files.changes).toHaveLength(4);
    expect(found.state.stepState?.total).toBe(30);
    expect(found.state.stepState?.changes).toHaveLength(3);
    const none = await manager.diff('demo', one, two, { limit: 0, fileLimit: 0 });
    expect(none.files).toMatchObject({ total: 30, changes: [] });
    expect(none.equal).toBe(false);
  });

  test('a checkpoint of another tool has no files to compare', () => {
    const old = oldCheckpoint(at.dir, 'demo', 0, Date.parse('2026-01-02T03:04:05.678Z'));
    const one = create(1);
    const found = manager.diffSync('demo', old, one);
    expect(found.files).toMatchObject({ compared: false, total: 0 });
    expect(found.state.stepState?.total).toBeGreaterThan(0);
    expect(manager.diffSync('demo', old).files.compared).toBe(false);
  });
});

describe('what goes wrong', () => {
  test('bad words', async () => {
    const id = create(1);
    const cases = /** @type {[any[], string][]} */ ([
      [['../x', id], 'ERR_RUN_ID_INVALID'],
      [['demo', 7], 'ERR_CHECKPOINT_ID_INVALID'],
      [['demo', undefined], 'ERR_CHECKPOINT_ID_INVALID'],
      [['demo', '../x'], 'ERR_CHECKPOINT_ID_INVALID'],
      [['demo', id, {}], 'ERR_CHECKPOINT_ID_INVALID'],
      [['demo', id, 'checkpoint-step-9-9'], 'ERR_CHECKPOINT_NOT_FOUND'],
      [['other', id], 'ERR_RUN_NOT_FOUND'],
      [['demo', id, null, { limit: -1 }], 'ERR_OPTION_INVALID'],
      [['demo', id, null, { fileLimit: 1.5 }], 'ERR_OPTION_INVALID'],
      [['demo', id, null, { text: [''] }], 'ERR_OPTION_INVALID'],
      [['demo', id, null, { text: 'a.txt' }], 'ERR_OPTION_INVALID'],
      [['demo', id, null, { capture: { runs: true } }], 'ERR_OPTION_INVALID'],
      [['demo', id, id, { capture: {} }], 'ERR_OPTION_INVALID'],
      [['demo', id, id, { lines: 3 }], 'ERR_OPTION_UNKNOWN'],
      [['demo', id, id, { signal: AbortSignal.abort() }], 'ERR_ABORTED'],
    ]);
    for (const [words, code] of cases) {
      const [run, from, to, options] = words;
      await expect(manager.diff(run, from, to, options)).rejects.toMatchObject({ code });
      expect(() => manager.diffSync(run, from, to, options)).toThrow(
        expect.objectContaining({ code }),
      );
    }
  });

  test('a store that is gone is damage of the checkpoint that needs it', async () => {
    const one = create(1);
    put('src/a.txt', 'x');
    const two = create(2);
    fs.rmSync(place('.waymark'), { recursive: true });
    await expect(manager.diff('demo', one, two)).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT_DAMAGED',
      reason: 'object_missing',
      checkpointId: one,
    });
    put('src/a.txt', 'y');
    await expect(manager.diff('demo', one)).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT_DAMAGED',
      checkpointId: one,
    });
  });

  test('what lies on the disk is damaged', async () => {
    const id = create(1);
    fs.writeFileSync(path.join(at.dir, 'artifact-registry.json'), '{');
    await expect(manager.diff('demo', id)).rejects.toMatchObject({ code: 'ERR_REGISTRY_DAMAGED' });
    fs.writeFileSync(path.join(at.dir, 'run.json'), '{');
    await expect(manager.diff('demo', id)).rejects.toMatchObject({
      code: 'ERR_RUN_RECORD_DAMAGED',
    });
  });

  test('aborted meanwhile; progress is told', async () => {
    const id = create(1);
    for (let n = 0; n < 200; n += 1) put(`src/${n}`, 'x'.repeat(20_000));
    const controller = new AbortController();
    const going = manager.diff('demo', id, null, { signal: controller.signal });
    controller.abort('enough');
    await expect(going).rejects.toMatchObject({ code: 'ERR_ABORTED', cause: 'enough' });
    /** @type {api.Progress[]} */
    const told = [];
    await manager.diff('demo', id, null, { onProgress: (one) => told.push(one) });
    expect(told.at(-1)).toMatchObject({ phase: 'done' });
    expect(told.at(-1)?.bytes).toBeGreaterThanOrEqual(200 * 20_000);
  });
});

describe('the command', () => {
  /** @param {string[]} words */
  const run = (...words) => waymark(['diff', 'demo', ...words], { cwd: at.root });

  test('text', async () => {
    writeJson(place('waymark.config.json'), { capture: CAPTURE });
    const id = create(1);
    const same = await run(id, '--exit-code');
    expect(same).toMatchObject({
      code: 0,
      stderr: '',
      stdout: `${id} (step 1) → the disk as it is now\n\nnothing differs\n`,
    });
    put('src/a.txt', 'one\n\u001b[31m\nthree\n');
    put('src/new', '');
    change({ status: 'failed' });
    const found = await run(id, '--text', '--exit-code');
    expect(found.code).toBe(3);
    expect(found.stdout).toBe(
      `${id} (step 1) → the disk as it is now

run.json
  ~ /status: "in_progress" → "failed"

files of workspace (src)
  ~ a.txt (14 B → 16 B)
    @@ -1,3 +1,3 @@
     one
    -two
    +\ufffd[31m
     three
  + new (0 B)

2 files differ: 1 added, 0 removed, 1 changed
`,
    );
    expect((await run(id)).code).toBe(0);
    const short = await run(id, '--limit', '1');
    expect(short.stdout).toContain('2 files differ: 1 added, 0 removed, 1 changed, 1 of them not');
  });

  test('Ctrl-C stops it', async () => {
    const id = create(1);
    const asked = {
      /** @param {Parameters<api.CheckpointManager['diff']>} words */
      diff: (...words) => {
        process.emit('SIGINT');
        return manager.diff(...words);
      },
    };
    const stopped = diffCommand({
      manager: /** @type {api.CheckpointManager} */ (/** @type {unknown} */ (asked)),
      args: ['demo', id],
      options: { json: true },
      tell: () => {},
      command: undefined,
    });
    await expect(stopped).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    expect(process.listenerCount('SIGINT')).toBe(0);
  });

  test('JSON, and misuse', async () => {
    const one = create(1);
    const two = create(2);
    const { stdout, code } = await run(one, two, '--json', '--exit-code');
    expect(JSON.parse(stdout)).toEqual(
      JSON.parse(JSON.stringify(manager.diffSync('demo', one, two))),
    );
    expect(code).toBe(3);
    expect((await run(one, '--limit', 'x')).stderr).toContain('whole number');
    expect((await run('checkpoint-step-9-9')).stderr).toContain('[ERR_CHECKPOINT_NOT_FOUND]');
    const old = oldCheckpoint(at.dir, 'demo', 0, Date.parse('2026-01-02T03:04:05.678Z'));
    expect((await run(old, one)).stderr).toContain('files were not compared');
  });
});
