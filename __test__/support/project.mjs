// Temporary projects with runs in them, as the existing runner lays them out.

import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const repo = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..');

/** @type {string[]} */
const folders = [];

/** A new empty folder, removed by `removeAll`. */
export function temporary() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'waymark-test-'));
  folders.push(folder);
  return folder;
}

/**
 * A message without where the clone and the temporary folders happen to lie, as its length must not depend on it.
 * @param {string} message
 */
export function withoutPlaces(message) {
  return message
    .replaceAll(repo, '')
    .replaceAll(fs.realpathSync(os.tmpdir()), '')
    .replaceAll(os.tmpdir(), '');
}

export function removeAll() {
  // A lease that is kept is still written.
  const how = { recursive: true, force: true, maxRetries: 5, retryDelay: 50 };
  for (const folder of folders.splice(0)) fs.rmSync(folder, how);
}

/**
 * A project with one run, and ways to write in it: `place` names a path of it, `put` writes a file there and
 * makes its folders, `change` changes members of `run.json`.
 * @param {{ runId?: string, artifacts?: number, record?: object, runs?: string }} [options]
 */
export function project({ runId = 'run-1', artifacts = 3, record = {}, runs = 'runs' } = {}) {
  const root = temporary();
  const runsDir = path.join(root, '.claude', 'context', runs);
  fs.mkdirSync(runsDir, { recursive: true });
  const run = addRun(runsDir, runId, { artifacts, record });
  const place = (/** @type {string} */ name) => path.join(root, name);
  /** @param {string} name @param {string | Buffer} content */
  const put = (name, content) => {
    fs.mkdirSync(path.dirname(place(name)), { recursive: true });
    fs.writeFileSync(place(name), content);
  };
  /** @param {object} members */
  const change = (members) => {
    const file = path.join(run.dir, 'run.json');
    writeJson(file, { ...readJson(file), ...members });
  };
  return { root, runsDir, ...run, place, put, change };
}

/**
 * @param {string} runsDir
 * @param {string} runId
 * @param {{ artifacts?: number, record?: object }} [options]
 */
export function addRun(runsDir, runId, { artifacts = 3, record = {} } = {}) {
  const dir = path.join(runsDir, runId);
  fs.mkdirSync(path.join(dir, 'artifacts'), { recursive: true });
  const at = '2026-01-02T03:04:05.678Z';
  writeJson(path.join(dir, 'run.json'), {
    unknown_first: { 10: 'ten', 9: 'nine', z: 1 },
    run_id: runId,
    workflow_id: 'flow',
    current_step: 0,
    status: 'in_progress',
    created_at: at,
    updated_at: at,
    metadata: { big: 2 ** 53, small: 1e-7, text: '\u2028 \ud800 é' },
    ...record,
  });
  /** @type {Record<string, object>} */
  const entries = {};
  for (let n = 0; n < artifacts; n += 1) entries[`artifact-${n}.md`] = artifact(dir, n);
  writeJson(path.join(dir, 'artifact-registry.json'), {
    run_id: runId,
    workflow_id: 'flow',
    custom: [1, 2],
    artifacts: entries,
    created_at: at,
    updated_at: at,
  });
  return { runId, dir, checkpoints: path.join(dir, 'checkpoints') };
}

/** @param {string} dir @param {number} n */
export function artifact(dir, n) {
  const name = `artifact-${n}.md`;
  return {
    name,
    step: n,
    agent: 'writer',
    created_at: '2026-01-02T03:04:05.678Z',
    path: path.join(dir, 'artifacts', name),
    dependencies: [],
    validationStatus: 'pass',
    metadata: { size: 10 * n, validation_status: n % 2 ? 'fail' : 'pass' },
  };
}

/** @param {string} file @param {unknown} value */
export function writeJson(file, value) {
  fs.writeFileSync(file, JSON.stringify(value, null, 2));
}

/** @param {string} file */
export function readJson(file) {
  return JSON.parse(fs.readFileSync(file, 'utf8'));
}

/** The checkpoints a registry names. @param {string} dir */
export function registered(dir) {
  const { artifacts } = readJson(path.join(dir, 'artifact-registry.json'));
  return Object.entries(artifacts)
    .filter(([, entry]) => entry.agent === 'checkpoint-manager')
    .map(([name]) => name.replace(/\.json$/, ''))
    .sort();
}

/** The checkpoints that lie in the folder. @param {string} dir */
export function files(dir) {
  const folder = path.join(dir, 'checkpoints');
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => name.replace(/\.json$/, ''))
    .sort();
}

/**
 * The checksum by the contract's rule, in plain Node.
 * @param {Record<string, any>} checkpoint
 */
export function checksum({ metadata, ...rest }) {
  return createHash('sha256').update(JSON.stringify(rest)).digest('hex');
}

/**
 * A checkpoint as the old JavaScript manager wrote it.
 * @param {string} dir @param {string} runId @param {number} step @param {number} ms
 * @param {object} [more]
 */
export function oldCheckpoint(dir, runId, step, ms, more = {}) {
  const id = `checkpoint-step-${step}-${ms}`;
  const rest = {
    checkpoint_id: id,
    run_id: runId,
    workflow_id: 'flow',
    step,
    timestamp: new Date(ms).toISOString(),
    run_record: readJson(path.join(dir, 'run.json')),
    artifact_registry: readJson(path.join(dir, 'artifact-registry.json')),
    step_state: { numbers: [1e21, -0, 2 ** 53, 5e-324], keys: { b: 1, 10: 2, 9: 3 } },
    artifacts_at_checkpoint: ['artifact-0.md'],
    validation_summary: { total_artifacts: 3, validated_artifacts: 2, failed_validations: 1 },
    recovery_instructions: ['a', 'b', 'c', 'd'],
    ...more,
  };
  const metadata = {
    checksum: checksum(rest),
    created_by: 'checkpoint-manager',
    version: '1.0.0',
  };
  fs.mkdirSync(path.join(dir, 'checkpoints'), { recursive: true });
  writeJson(path.join(dir, 'checkpoints', `${id}.json`), { ...rest, metadata });
  return id;
}
