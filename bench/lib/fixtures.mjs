// Runs as the runner leaves them, with realistic entries (sizes as in the runner's own trees).

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { layOut } from '../../scripts/bundle.mjs';

export const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..');

/**
 * The package as it is published, with the binary that was built here, in a project of its own.
 * @param {string} folder
 * @returns {string} where it is
 */
export function installed(folder) {
  const modules = path.join(folder, 'node_modules');
  const own = path.join(modules, 'waymark');
  fs.mkdirSync(own, { recursive: true });
  layOut(own);
  for (const name of fs.readdirSync(root).filter((one) => /^waymark\..*\.node$/.test(one))) {
    fs.copyFileSync(path.join(root, name), path.join(own, name));
  }
  const { dependencies } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
  for (const name of Object.keys(dependencies)) {
    fs.symlinkSync(path.join(root, 'node_modules', name), path.join(modules, name), 'junction');
  }
  return own;
}

/** File systems in memory: syncing costs nothing there, so no ratio would mean anything. */
const IN_MEMORY = new Set([0x01021994, 0x858458f6]);

const FILE_SYSTEMS = new Map([
  [0xef53, 'ext'],
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
  [0x794c7630, 'overlay'],
  [0x2fc12fc1, 'zfs'],
  [0x6969, 'nfs'],
  [0x01021994, 'tmpfs'],
  [0x858458f6, 'ramfs'],
]);

/**
 * The type of the file system that holds a path, as far as it can be told.
 * @param {string} place
 * @returns {string}
 */
export function fileSystem(place) {
  const { type } = fs.statfsSync(place);
  const known = FILE_SYSTEMS.get(type) ?? `0x${type.toString(16)}`;
  try {
    const mounts = fs
      .readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' '))
      .filter(([, point]) => point && `${place}/`.startsWith(point === '/' ? '/' : `${point}/`))
      .sort(([, left], [, right]) => right.length - left.length);
    return mounts[0]?.[2] ?? known;
  } catch {
    return known;
  }
}

/**
 * A new folder on a real disk: below `WAYMARK_BENCH_DIR`, the system's folder for temporary files,
 * or this repository.
 * @returns {string}
 */
export function makeFolder() {
  const wanted = process.env.WAYMARK_BENCH_DIR ?? os.tmpdir();
  const parent = IN_MEMORY.has(fs.statfsSync(wanted).type) ? path.join(root, 'target') : wanted;
  fs.mkdirSync(parent, { recursive: true });
  return fs.mkdtempSync(path.join(fs.realpathSync(parent), 'waymark-bench-'));
}

/**
 * @param {string} folder the run's
 * @param {number} at
 */
function entry(folder, at) {
  const name = `artifact-${String(at).padStart(5, '0')}.json`;
  const status = at % 9 === 0 ? 'pending' : 'pass';
  const publishing = {
    publishable: false,
    published: false,
    published_at: null,
    publish_targets: [],
    publish_attempts: [],
    publish_status: null,
    publish_error: null,
  };
  const made = {
    name,
    step: Math.floor(at / 4),
    agent: ['analyst', 'architect', 'developer', 'qa'][at % 4],
    created_at: '2026-11-21T06:00:00.000Z',
    updated_at: '2026-11-21T06:00:01.000Z',
    path: path.join(folder, 'artifacts', name),
    dependencies: at > 1 ? [`artifact-${String(at - 1).padStart(5, '0')}.json`] : [],
    version: 1,
    validationStatus: status,
    schema: '.claude/schemas/artifact.schema.json',
    gate_path: path.join(folder, 'gates', `gate-${at}.json`),
    reasoning_path: path.join(folder, 'reasoning', `reasoning-${at}.json`),
    ...publishing,
    metadata: {
      size: 1024 + at,
      type: 'document',
      validation_status: status,
      ...publishing,
    },
  };
  return /** @type {const} */ ([name, made]);
}

/**
 * Creates a run with `artifacts` entries in its registry.
 * @param {string} runsDir
 * @param {string} runId
 * @param {number} artifacts
 * @returns {string} the run's folder
 */
export function makeRun(runsDir, runId, artifacts) {
  const folder = path.join(runsDir, runId);
  fs.mkdirSync(folder, { recursive: true });
  const now = '2026-11-21T06:00:00.000Z';
  const record = {
    run_id: runId,
    workflow_id: 'greenfield-fullstack',
    selected_workflow: '.claude/workflows/greenfield-fullstack.yaml',
    current_step: 3,
    status: 'in_progress',
    created_at: now,
    updated_at: now,
    task_queue: Array.from({ length: 8 }, (_, at) => ({ step: at, agent: 'developer', tries: 0 })),
    owners: { developer: 'agent-1', qa: 'agent-2' },
    timestamps: { started_at: now, last_step_completed_at: now, completed_at: null },
    metadata: { user_request: 'a shop with a basket and an order history', priority: 'normal' },
  };
  const registry = {
    run_id: runId,
    workflow_id: record.workflow_id,
    artifacts: Object.fromEntries(Array.from({ length: artifacts }, (_, at) => entry(folder, at))),
    created_at: now,
    updated_at: now,
  };
  fs.writeFileSync(path.join(folder, 'run.json'), JSON.stringify(record, null, 2));
  fs.writeFileSync(path.join(folder, 'artifact-registry.json'), JSON.stringify(registry, null, 2));
  return folder;
}

/**
 * Creates a run as small as one can be, to be one of many.
 * @param {string} runsDir
 * @param {string} runId
 */
export function makeBareRun(runsDir, runId) {
  fs.mkdirSync(path.join(runsDir, runId, 'checkpoints'), { recursive: true });
  fs.writeFileSync(
    path.join(runsDir, runId, 'run.json'),
    `{\n  "run_id": "${runId}",\n  "status": "completed"\n}`,
  );
}

/** What a runner hands over after a step. */
export const smallState = {
  step_name: 'implementation',
  agent: 'developer',
  artifacts: ['artifact-00001.json'],
  validation_status: 'pass',
};

/**
 * A step state whose JSON is about `bytes` long: messages of a conversation.
 * @param {number} bytes
 */
export function largeState(bytes) {
  const text = 'The gate asks for a schema of every artifact; "orders" has none yet.\n'.repeat(4);
  const message = (/** @type {number} */ at) => ({
    id: at,
    role: at % 2 ? 'assistant' : 'user',
    tokens: 71 + (at % 13),
    content: `${at}: ${text}`,
  });
  const count = Math.ceil(bytes / JSON.stringify(message(1000)).length);
  return { ...smallState, messages: Array.from({ length: count }, (_, at) => message(at)) };
}
