// How much a checkpoint costs above the disk work that it can't avoid, and beside its peers.

import fs from 'node:fs';
import path from 'node:path';
import { CheckpointManager } from '../index.mjs';
import { BareRun } from './lib/bare.mjs';
import { largeState, makeRun, smallState } from './lib/fixtures.mjs';
import { interleave } from './lib/sampling.mjs';
import { row } from './lib/statistics.mjs';
import { createCheckpoint } from './peers/js_manager.mjs';
import { openLangGraph } from './peers/langgraph.mjs';

/**
 * @typedef {import('./lib/statistics.mjs').Row} Row
 * @typedef {import('./lib/statistics.mjs').Gap} Gap
 */

/**
 * @typedef {object} Size
 * @property {string} name
 * @property {number} artifacts
 * @property {object} state
 * @property {number} bound times the bare disk work
 * @property {{ rounds: number, warmUp: number }} plan
 * @property {{ rounds: number, warmUp: number }} peers
 */

/** @returns {Size[]} */
function sizes() {
  return [
    {
      name: 'small: 20 artifacts',
      artifacts: 20,
      state: smallState,
      bound: 1.5,
      plan: { rounds: 300, warmUp: 30 },
      peers: { rounds: 100, warmUp: 10 },
    },
    {
      name: 'large: 5,000 artifacts, 1 MB state',
      artifacts: 5000,
      state: largeState(1 << 20),
      bound: 2,
      plan: { rounds: 60, warmUp: 8 },
      peers: { rounds: 12, warmUp: 3 },
    },
  ];
}

/**
 * @param {string} folder
 * @returns {Promise<(Row | Gap)[]>}
 */
export async function benchCreate(folder) {
  const results = [];
  for (const [at, size] of sizes().entries()) {
    results.push(...(await aboveBare(path.join(folder, `bare-${at}`), size)));
    results.push(...(await besidePeers(path.join(folder, `peers-${at}`), size)));
  }
  return results;
}

/**
 * @param {string} folder
 * @param {Size} size
 * @returns {Promise<Row[]>}
 */
async function aboveBare(folder, size) {
  const manager = new CheckpointManager({ runsDir: folder });
  for (const runId of ['sync', 'async', 'grown']) makeRun(folder, runId, size.artifacts);
  const bare = new BareRun(path.join(folder, 'bare'));
  // What one leaves to the file system's journal, such as the blocks of a dropped checkpoint, must
  // not be paid for by the next.
  const commit = () => settle([folder]);
  let step = 0;
  const last = manager.createSync('sync', step, size.state);
  let manifest = fs.readFileSync(last.path);
  const registryFile = path.join(folder, 'sync', 'artifact-registry.json');
  let registry = fs.readFileSync(registryFile);
  const samples = await interleave(
    {
      bare: {
        run: () => bare.publish(manifest, registry),
        after: () => {
          bare.prune();
          commit();
        },
      },
      sync: {
        before: () => (step += 1),
        run: () => manager.createSync('sync', step, size.state),
        after: (created) => {
          commit();
          // Both hold more entries once five checkpoints are registered; the bare work writes the
          // same bytes. They stay the same from then on.
          if (step > 8) return;
          manifest = fs.readFileSync(created.path);
          registry = fs.readFileSync(registryFile);
        },
      },
      async: { run: () => manager.create('async', step, size.state), after: commit },
      grown: {
        before: (round) => {
          registerArtifacts(path.join(folder, 'grown'), round);
          commit();
        },
        run: () => manager.createSync('grown', step, size.state),
        after: commit,
      },
    },
    size.plan,
  );
  const bytes = `${format(manifest.length)} + ${format(registry.length)}`;
  const about = { base: samples.bare, baseName: 'bare', bound: size.bound };
  return [
    row('create', `${size.name}: bare disk work (${bytes})`, samples.bare),
    row('create', `${size.name}: createSync`, samples.sync, about),
    row('create', `${size.name}: create`, samples.async, about),
    row('create', `${size.name}: createSync, 10 artifacts changed`, samples.grown, about),
  ];
}

/**
 * @param {string} folder
 * @param {Size} size
 * @returns {Promise<(Row | Gap)[]>}
 */
async function besidePeers(folder, size) {
  const manager = new CheckpointManager({ runsDir: folder });
  makeRun(folder, 'waymark', size.artifacts);
  const run = makeRun(folder, 'js', size.artifacts);
  const state = {
    step_state: size.state,
    run_record: JSON.parse(fs.readFileSync(path.join(run, 'run.json'), 'utf8')),
    artifact_registry: JSON.parse(
      fs.readFileSync(path.join(run, 'artifact-registry.json'), 'utf8'),
    ),
  };
  const graph = await openLangGraph(path.join(folder, 'graph.sqlite'));
  /** @type {Record<string, import('./lib/sampling.mjs').Contender>} */
  const contenders = {
    waymark: { run: (round) => manager.create('waymark', round, size.state) },
    js: {
      run: (round) => createCheckpoint(run, round, size.state),
      // It leaves its writing to whoever syncs next; that must not be one of the others.
      after: ({ manifest, registry }) => settle([manifest, registry]),
    },
  };
  if ('put' in graph) contenders.graph = { run: (round) => graph.put(state, round) };
  const samples = await interleave(contenders, size.peers);
  const about = { base: samples.waymark, baseName: 'waymark' };
  const name = (/** @type {string} */ peer) => `${size.name}: ${peer}`;
  const results = [
    row('peers', name('Waymark create, durable'), samples.waymark),
    row('peers', name('JavaScript manager, not synced'), samples.js, about),
  ];
  if ('missing' in graph) {
    return [
      ...results,
      { group: 'peers', name: name('LangGraph SQLite put'), missing: graph.missing },
    ];
  }
  graph.close();
  return [...results, row('peers', name('LangGraph SQLite put, synced'), samples.graph, about)];
}

/**
 * The runner's part of a step: ten artifacts are registered, and those of the step before are gone, so
 * that the registry stays as large as it is.
 * @param {string} folder the run's
 * @param {number} round
 */
function registerArtifacts(folder, round) {
  const file = path.join(folder, 'artifact-registry.json');
  const registry = JSON.parse(fs.readFileSync(file, 'utf8'));
  const [, like] = /** @type {[string, object]} */ (Object.entries(registry.artifacts)[0]);
  for (const name of Object.keys(registry.artifacts)) {
    if (name.startsWith('step-')) delete registry.artifacts[name];
  }
  for (let at = 0; at < 10; at += 1) {
    const name = `step-${round}-${at}.json`;
    registry.artifacts[name] = { ...like, name };
  }
  fs.writeFileSync(`${file}.tmp`, JSON.stringify(registry, null, 2));
  fs.renameSync(`${file}.tmp`, file);
}

/** @param {string[]} files */
function settle(files) {
  for (const file of files) {
    for (const place of [file, path.dirname(file)]) {
      const handle = fs.openSync(place, 'r');
      fs.fsyncSync(handle);
      fs.closeSync(handle);
    }
  }
}

/** @param {number} bytes */
function format(bytes) {
  return bytes < 1 << 20
    ? `${Math.round(bytes / 1024)} KiB`
    : `${(bytes / (1 << 20)).toFixed(1)} MiB`;
}
