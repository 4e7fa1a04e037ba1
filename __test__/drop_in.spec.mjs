// The drop-in functions, with the names, arguments and results of the runner's own manager.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import dropIn, {
  createCheckpoint,
  listCheckpoints,
  restoreFromCheckpoint,
} from '../lib/checkpoint-manager.mjs';
import {
  addRun,
  artifact,
  checksum,
  files,
  oldCheckpoint,
  project,
  readJson,
  registered,
  removeAll,
  repo,
  writeJson,
} from './support/project.mjs';

/** @type {ReturnType<typeof project>} */
let at;
beforeEach(() => {
  at = project();
  process.env.WAYMARK_RUNS_DIR = at.runsDir;
});
afterEach(() => {
  delete process.env.WAYMARK_RUNS_DIR;
});
afterAll(removeAll);

const runFile = (name = 'run.json') => path.join(at.dir, name);

describe('createCheckpoint', () => {
  test('gives and writes the whole object, in the order of the contract', async () => {
    const before = [readJson(runFile()), readJson(runFile('artifact-registry.json'))];
    const state = {
      step_name: 'Draft',
      agent: 'writer',
      artifacts: ['a'],
      validation_status: 'pass',
    };
    const checkpoint = await createCheckpoint(at.runId, 3, state);
    const file = path.join(at.checkpoints, `${checkpoint.checkpoint_id}.json`);
    const onDisk = readJson(file);
    expect(Object.keys(onDisk)).toEqual([
      'checkpoint_id',
      'run_id',
      'workflow_id',
      'step',
      'timestamp',
      'run_record',
      'artifact_registry',
      'step_state',
      'artifacts_at_checkpoint',
      'validation_summary',
      'recovery_instructions',
      'run_files',
      'state_objects',
      'snapshot',
      'environment',
      'waymark',
      'metadata',
    ]);
    expect({ ...checkpoint }).toEqual(onDisk);
    expect(JSON.stringify(checkpoint)).toBe(JSON.stringify(onDisk));
    // Readable JSON, as JSON.stringify lays it out.
    expect(fs.readFileSync(file, 'utf8')).toBe(JSON.stringify(onDisk, null, 2));
    expect(checkpoint.checkpoint_id).toMatch(/^checkpoint-step-3-\d{13}$/);
    expect(onDisk).toMatchObject({
      run_id: at.runId,
      workflow_id: 'flow',
      step: 3,
      step_state: state,
      artifacts_at_checkpoint: ['artifact-0.md', 'artifact-1.md', 'artifact-2.md'],
      validation_summary: { total_artifacts: 3, validated_artifacts: 2, failed_validations: 1 },
    });
    expect(JSON.stringify(onDisk.run_record)).toBe(JSON.stringify(before[0]));
    expect(JSON.stringify(onDisk.artifact_registry)).toBe(JSON.stringify(before[1]));
    expect(onDisk.recovery_instructions).toHaveLength(4);
    expect(new Date(onDisk.timestamp).toISOString()).toBe(onDisk.timestamp);
    expect(onDisk.metadata).toMatchObject({
      checksum: checksum(onDisk),
      created_by: 'checkpoint-manager',
    });
  });

  test('enters itself in the registry with every field of an entry', async () => {
    const { checkpoint_id: id } = await createCheckpoint(at.runId, 1);
    const registry = readJson(runFile('artifact-registry.json'));
    const entry = registry.artifacts[`${id}.json`];
    const file = path.join(at.checkpoints, `${id}.json`);
    expect(entry).toEqual({
      name: `${id}.json`,
      step: 1,
      agent: 'checkpoint-manager',
      created_at: expect.any(String),
      updated_at: entry.created_at,
      path: file,
      dependencies: [],
      version: 1,
      validationStatus: 'pass',
      schema: null,
      gate_path: null,
      reasoning_path: null,
      publishable: false,
      published: false,
      published_at: null,
      publish_targets: [],
      publish_attempts: [],
      publish_status: null,
      publish_error: null,
      metadata: expect.objectContaining({
        size: fs.statSync(file).size,
        type: 'checkpoint',
        validation_status: 'pass',
        publishable: false,
        publish_attempts: [],
      }),
    });
    expect(registry.custom).toEqual([1, 2]);
    const text = fs.readFileSync(runFile('artifact-registry.json'), 'utf8');
    expect(text).toBe(JSON.stringify(registry, null, 2));
  });

  test('10 creates keep the newest 5, with the registry right', async () => {
    const ids = [];
    for (let step = 0; step < 10; step += 1) {
      ids.push((await createCheckpoint(at.runId, step)).checkpoint_id);
    }
    expect(files(at.dir)).toEqual(ids.slice(5).sort());
    expect(registered(at.dir)).toEqual(ids.slice(5).sort());
    const listed = await listCheckpoints(at.runId);
    expect(listed.map((one) => one.checkpoint_id)).toEqual(ids.slice(5).reverse());
    const newest = readJson(listed[0].path);
    // A checkpoint doesn't embed a growing list of dropped ones.
    const embedded = newest.artifacts_at_checkpoint.filter((/** @type {string} */ name) =>
      name.startsWith('checkpoint-'),
    );
    expect(embedded).toEqual(ids.slice(4, 9).map((id) => `${id}.json`));
  });

  test('10 parallel creates have 10 ids, and nothing is lost', async () => {
    const made = await Promise.all(
      Array.from({ length: 10 }, (_, n) => createCheckpoint(at.runId, 2, { n })),
    );
    expect(new Set(made.map((one) => one.checkpoint_id)).size).toBe(10);
    expect(new Set(made.map((one) => one.waymark?.sequence)).size).toBe(10);
    expect(registered(at.dir)).toEqual(files(at.dir));
    expect(files(at.dir)).toHaveLength(5);
  });

  test('steps stay numbers, fractions too; names stay names', async () => {
    for (const [given, kept] of /** @type {const} */ ([
      [0.1, 0.1],
      [1.5, 1.5],
      [-0, 0],
      ['2', 2],
      ['2.5', 2.5],
      ['code review', 'code review'],
    ])) {
      const made = await createCheckpoint(at.runId, given);
      expect(made.step).toBe(kept);
      const [listed] = await listCheckpoints(at.runId);
      expect(listed.step).toBe(kept);
      expect(listed.checkpoint_id).toBe(made.checkpoint_id);
    }
  });

  test('creates the registry if it is missing, also in very old forms', async () => {
    fs.unlinkSync(runFile('artifact-registry.json'));
    const { checkpoint_id: id } = await createCheckpoint(at.runId, 1);
    expect(registered(at.dir)).toEqual([id]);
    const registry = readJson(runFile('artifact-registry.json'));
    expect(Object.keys(registry)).toEqual([
      'run_id',
      'workflow_id',
      'artifacts',
      'created_at',
      'updated_at',
    ]);
    writeJson(runFile('artifact-registry.json'), {
      artifacts: [artifact(at.dir, 1)],
      artifacts_list: ['artifact-1.md'],
    });
    const second = await createCheckpoint(at.runId, 2);
    const old = readJson(runFile('artifact-registry.json'));
    expect(second.artifacts_at_checkpoint).toEqual(['artifact-1.md']);
    expect(old.artifacts.map((/** @type {any} */ entry) => entry.name)).toEqual([
      'artifact-1.md',
      `${id}.json`,
      `${second.checkpoint_id}.json`,
    ]);
    expect(old.artifacts_list).toContain(`${second.checkpoint_id}.json`);
  });

  test('a missing or damaged run.json or registry is an error that says so', async () => {
    const code = (/** @type {string} */ expected) =>
      expect(createCheckpoint(at.runId, 1)).rejects.toMatchObject({
        code: expected,
        path: expect.stringContaining(at.dir),
      });
    fs.writeFileSync(runFile('artifact-registry.json'), '{"artifacts": {');
    await code('ERR_REGISTRY_DAMAGED');
    fs.writeFileSync(runFile(), '{"run_id": ');
    await code('ERR_RUN_RECORD_DAMAGED');
    fs.unlinkSync(runFile());
    await code('ERR_RUN_RECORD_MISSING');
    expect(files(at.dir)).toEqual([]);
  });
});

describe('restoreFromCheckpoint', () => {
  test('puts run.json, the registry and the other JSON files back', async () => {
    writeJson(runFile('state.json'), { notes: ['one'] });
    fs.writeFileSync(runFile('handoff-1.json'), '{ "kept": "byte for byte" }\n');
    const made = await createCheckpoint(at.runId, 1.5, { mine: true });
    const record = readJson(runFile());
    writeJson(runFile(), { ...record, current_step: 4, status: 'failed', later: true });
    writeJson(runFile('artifact-registry.json'), { run_id: at.runId, artifacts: {} });
    writeJson(runFile('state.json'), { notes: ['one', 'two'] });
    fs.writeFileSync(runFile('handoff-1.json'), 'not JSON at all');
    writeJson(runFile('new.json'), { made: 'later' });

    const restored = await restoreFromCheckpoint(at.runId, made.checkpoint_id);
    expect(restored).toMatchObject({
      restored_step: 1.5,
      artifacts_restored: 3,
      recovery_instructions: made.recovery_instructions,
    });
    expect(restored.checkpoint).toEqual({ ...made });
    const after = readJson(runFile());
    const { updated_at: updatedAt, ...rest } = after;
    const { updated_at: oldUpdatedAt, ...oldRest } = record;
    expect(rest).toEqual({ ...oldRest, current_step: 1.5, status: 'in_progress' });
    expect(Object.keys(after)).toEqual(Object.keys(record));
    expect(updatedAt).not.toBe(oldUpdatedAt);
    expect(fs.readFileSync(runFile(), 'utf8')).toBe(JSON.stringify(after, null, 2));
    expect(readJson(runFile('artifact-registry.json'))).toEqual(made.artifact_registry);
    expect(readJson(runFile('state.json'))).toEqual({ notes: ['one'] });
    expect(fs.readFileSync(runFile('handoff-1.json'), 'utf8')).toBe(
      '{ "kept": "byte for byte" }\n',
    );
    // What was never captured is never deleted.
    expect(readJson(runFile('new.json'))).toEqual({ made: 'later' });
    expect(fs.existsSync(runFile('run.json.lock'))).toBe(false);
  });

  test('leaves no entries of checkpoints that are gone', async () => {
    const ids = [];
    for (let step = 0; step < 7; step += 1) {
      ids.push((await createCheckpoint(at.runId, step)).checkpoint_id);
    }
    fs.unlinkSync(path.join(at.checkpoints, `${ids[4]}.json`));
    await restoreFromCheckpoint(at.runId, ids[6]);
    expect(registered(at.dir)).toEqual([ids[2], ids[3], ids[5]].sort());
  });

  test('the messages in use', async () => {
    await expect(restoreFromCheckpoint(at.runId, 'checkpoint-step-9-9')).rejects.toThrow(
      'Checkpoint not found: checkpoint-step-9-9',
    );
    const { checkpoint_id: id } = await createCheckpoint(at.runId, 1);
    const file = path.join(at.checkpoints, `${id}.json`);
    const text = fs.readFileSync(file, 'utf8');
    fs.writeFileSync(file, text.replace('"step": 1', '"step": 2'));
    const before = fs.readFileSync(runFile(), 'utf8');
    await expect(restoreFromCheckpoint(at.runId, id)).rejects.toMatchObject({
      message: expect.stringMatching(/^Checkpoint integrity check failed: checksum mismatch/),
      code: 'ERR_CHECKPOINT_DAMAGED',
      reason: 'checksum_mismatch',
      checkpointId: id,
    });
    expect(fs.readFileSync(runFile(), 'utf8')).toBe(before);
    expect(await listCheckpoints(at.runId)).toEqual([]);
  });

  test('without an id: the newest good one, and what was passed over and why', async () => {
    const good = await createCheckpoint(at.runId, 1);
    const bad = await createCheckpoint(at.runId, 2);
    fs.truncateSync(path.join(at.checkpoints, `${bad.checkpoint_id}.json`), 100);
    const restored = await restoreFromCheckpoint(at.runId);
    expect(restored.checkpoint.checkpoint_id).toBe(good.checkpoint_id);
    expect(restored.skipped).toEqual([
      {
        checkpointId: bad.checkpoint_id,
        damage: 'truncated',
        message: expect.stringContaining('truncated'),
      },
    ]);
  });

  test('two damages at once: both run files come from the newest good checkpoint', async () => {
    const good = await createCheckpoint(at.runId, 1);
    const bad = await createCheckpoint(at.runId, 2);
    fs.writeFileSync(path.join(at.checkpoints, `${bad.checkpoint_id}.json`), '');
    fs.truncateSync(runFile(), 20);
    fs.writeFileSync(runFile('artifact-registry.json'), Buffer.from([0xff, 0xfe, 0]));
    const restored = await restoreFromCheckpoint(at.runId);
    expect(restored.restored_step).toBe(1);
    expect(readJson(runFile()).run_id).toBe(at.runId);
    expect(readJson(runFile('artifact-registry.json'))).toEqual(good.artifact_registry);
  });

  test('if none is good, nothing is touched', async () => {
    const { checkpoint_id: id } = await createCheckpoint(at.runId, 1);
    fs.truncateSync(path.join(at.checkpoints, `${id}.json`), 50);
    const before = fs.readFileSync(runFile(), 'utf8');
    await expect(restoreFromCheckpoint(at.runId)).rejects.toMatchObject({
      code: 'ERR_NO_GOOD_CHECKPOINT',
      message: expect.stringContaining(id),
      skipped: [expect.objectContaining({ checkpointId: id, damage: 'truncated' })],
    });
    expect(fs.readFileSync(runFile(), 'utf8')).toBe(before);
  });

  test('files of the old manager verify and restore', async () => {
    const id = oldCheckpoint(at.dir, at.runId, 2, 1_700_000_000_000);
    const listed = await listCheckpoints(at.runId);
    expect(listed.map((one) => [one.checkpoint_id, one.step])).toEqual([[id, 2]]);
    fs.writeFileSync(runFile(), 'broken');
    const restored = await restoreFromCheckpoint(at.runId, id);
    expect(restored.restored_step).toBe(2);
    expect(readJson(runFile()).current_step).toBe(2);
    // Newer by creation comes first, whatever its step is.
    const newer = await createCheckpoint(at.runId, 1);
    const both = await listCheckpoints(at.runId);
    expect(both.map((one) => one.checkpoint_id)).toEqual([newer.checkpoint_id, id]);
  });

  test('a checkpoint of another run is not restored', async () => {
    const other = addRun(at.runsDir, 'run-2');
    const { checkpoint_id: id } = await createCheckpoint(other.runId, 1);
    fs.mkdirSync(at.checkpoints, { recursive: true });
    fs.copyFileSync(
      path.join(other.checkpoints, `${id}.json`),
      path.join(at.checkpoints, `${id}.json`),
    );
    await expect(restoreFromCheckpoint(at.runId, id)).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT_DAMAGED',
      reason: 'other_run',
    });
    expect(await listCheckpoints(at.runId)).toEqual([]);
  });

  test("the runner's lock is honoured: a dead holder's is taken over at once", async () => {
    const { checkpoint_id: id } = await createCheckpoint(at.runId, 1);
    const dead = execFileSync(process.execPath, ['-e', 'console.log(process.pid)'], {
      encoding: 'utf8',
    });
    writeJson(runFile('run.json.lock'), { pid: Number(dead), timestamp: new Date().toISOString() });
    await restoreFromCheckpoint(at.runId, id);
    expect(fs.existsSync(runFile('run.json.lock'))).toBe(false);
  });

  test("the runner's lock is honoured: a live holder is waited for, then named", async () => {
    const { checkpoint_id: id } = await createCheckpoint(at.runId, 1);
    const lock = { pid: process.pid, timestamp: new Date().toISOString() };
    writeJson(runFile('run.json.lock'), lock);
    const before = fs.readFileSync(runFile(), 'utf8');
    await expect(restoreFromCheckpoint(at.runId, id)).rejects.toMatchObject({
      code: 'ERR_RUN_LOCKED',
      message: expect.stringContaining(`process ${process.pid}`),
    });
    expect(readJson(runFile('run.json.lock'))).toEqual(lock);
    expect(fs.readFileSync(runFile(), 'utf8')).toBe(before);
  });
});

describe('listCheckpoints', () => {
  test('is empty for an unknown run', async () => {
    expect(await listCheckpoints('unknown')).toEqual([]);
  });

  test('rows have the names of the contract, newest first', async () => {
    const first = await createCheckpoint(at.runId, 7);
    const second = await createCheckpoint(at.runId, 3);
    expect(await listCheckpoints(at.runId)).toEqual(
      [second, first].map((made) => ({
        checkpoint_id: made.checkpoint_id,
        step: made.step,
        timestamp: made.timestamp,
        path: path.join(at.checkpoints, `${made.checkpoint_id}.json`),
      })),
    );
  });

  test('reports what is damaged when asked to', async () => {
    fs.mkdirSync(path.join(at.checkpoints, 'folder.json'), { recursive: true });
    fs.writeFileSync(path.join(at.checkpoints, 'foreign.json'), '{"a": 1}');
    fs.writeFileSync(path.join(at.checkpoints, 'junk.txt'), 'junk');
    const made = await createCheckpoint(at.runId, 1);
    const all = await listCheckpoints(at.runId, { includeDamaged: true });
    expect(all.map((one) => [one.checkpoint_id, one.damage])).toEqual([
      [made.checkpoint_id, undefined],
      ...all.slice(1).map((one) => [one.checkpoint_id, one.damage]),
    ]);
    expect(Object.fromEntries(all.slice(1).map((one) => [one.checkpoint_id, one.damage]))).toEqual({
      folder: 'not_regular',
      foreign: 'not_checkpoint',
    });
  });
});

test('by require and import, named and default, with nothing on stdout', () => {
  const body = `
    const made = await m.createCheckpoint('run-1', 1);
    await m.default.restoreFromCheckpoint('run-1', made.checkpoint_id);
    const rows = await m.listCheckpoints('run-1');
    if (rows.length < 1 || m.default.createCheckpoint !== m.createCheckpoint) process.exit(9);`;
  for (const entry of ['index', 'lib/checkpoint-manager']) {
    const esm = `import * as m from ${JSON.stringify(path.join(repo, `${entry}.mjs`))};${body}`;
    const cjs = `const m = require(${JSON.stringify(path.join(repo, `${entry}.js`))});(async () => {${body}})();`;
    for (const words of [
      ['--input-type=module', '-e', esm],
      ['--input-type=commonjs', '-e', cjs],
    ]) {
      const out = execFileSync(process.execPath, words, { cwd: at.root, encoding: 'utf8' });
      expect(out).toBe('');
    }
  }
  expect(dropIn.createCheckpoint).toBe(createCheckpoint);
});

test('the runs are found where the contract says', async () => {
  delete process.env.WAYMARK_RUNS_DIR;
  const find = (/** @type {object} */ env, /** @type {string} */ cwd, script = 'find.cjs') => {
    const file = path.join(cwd, script);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(
      file,
      `const { CheckpointManager } = require(${JSON.stringify(repo)});
       process.stdout.write(new CheckpointManager().runsDir('run-1'));`,
    );
    return execFileSync(process.execPath, [file], {
      cwd: '/',
      encoding: 'utf8',
      env: { ...process.env, ...env },
    });
  };
  const script = path.join('.claude', 'tools', 'runner.cjs');
  expect(find({}, at.root, script)).toBe(at.runsDir);
  const newer = path.join(at.root, '.claude', 'context', 'runtime', 'runs');
  fs.mkdirSync(newer, { recursive: true });
  // The older still holds the run.
  expect(find({}, at.root, script)).toBe(at.runsDir);
  addRun(newer, 'run-1');
  expect(find({}, at.root, script)).toBe(newer);
  expect(find({ WAYMARK_RUNS_DIR: at.runsDir }, at.root, script)).toBe(at.runsDir);
  writeJson(path.join(at.root, 'waymark.config.json'), { runsDir: '.claude/context/runs' });
  expect(find({}, at.root, script)).toBe(at.runsDir);
});
