// What a question about the checkpoints of all runs costs: the first page, all rows as a stream, the index made
// anew, a checkpoint where there is an index; beside it reading the manifests, and the same asked of LangGraph's saver.

import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { CheckpointManager } from '../index.mjs';
import { makeRun, smallState } from './lib/fixtures.mjs';
import { interleave } from './lib/sampling.mjs';
import { row } from './lib/statistics.mjs';
import { openLangGraph } from './peers/langgraph.mjs';

/**
 * @typedef {import('./lib/statistics.mjs').Row} Row
 * @typedef {import('./lib/statistics.mjs').Gap} Gap
 */

const RUNS = 10_000;
const CHECKPOINTS = 5;
const PAGE_MS = 5;
const STREAM_MS = 1000;
const REBUILD_MS = 20_000;

/** The first page of each of these. @type {Record<string, import('../index.js').QueryFilter>} */
const QUESTIONS = {
  'the newest': {},
  'of a run': { run: 'run-77' },
  'of a worker': { worker: 'worker-3' },
  'of two workers': { worker: ['worker-3', 'worker-4'] },
  'in a state': { state: 'failed' },
  'with a label': { label: 'label-5' },
  'of a phase, made due by risk': { phase: 'phase-2', trigger: 'risk' },
  'of a time': { from: '2026-03-01', until: '2026-03-08' },
  'that can go on': { resumable: true },
  'that are damaged': { damaged: true },
  'that are pinned': { pinned: true },
};

/**
 * Runs with checkpoints as Waymark writes them, but for the seal: each is a copy with other ids, facts and
 * times, and with the checksum that fits.
 * @param {string} folder
 * @param {number} runs
 */
function project(folder, runs) {
  const runsDir = path.join(folder, '.claude/context/runtime/runs');
  makeRun(runsDir, 'run', 20);
  const manager = new CheckpointManager({ runsDir });
  const { path: file } = manager.createSync('run', 1, smallState);
  const { metadata, ...template } = JSON.parse(fs.readFileSync(file, 'utf8'));
  const { waymark, ...rest } = template;
  const record = JSON.parse(fs.readFileSync(path.join(runsDir, 'run/run.json'), 'utf8'));
  for (let run = 0; run < runs; run += 1) {
    const id = `run-${run}`;
    const dir = path.join(runsDir, id, 'checkpoints');
    fs.mkdirSync(dir, { recursive: true });
    const status = ['in_progress', 'failed', 'completed'][run % 3];
    fs.writeFileSync(
      path.join(dir, '../run.json'),
      JSON.stringify({ ...record, run_id: id, status }),
    );
    for (let step = 1; step <= CHECKPOINTS; step += 1) {
      const n = run * CHECKPOINTS + step;
      const ms = Date.parse('2026-01-01') + n * 137_000;
      const checkpoint = {
        ...rest,
        checkpoint_id: `checkpoint-step-${step}-${ms}`,
        run_id: id,
        step,
        timestamp: new Date(ms).toISOString(),
        facts: {
          trigger: n % 7 === 0 ? 'risk' : 'progress',
          phase: `phase-${n % 5}`,
          worker: `worker-${n % 11}`,
          labels: [`label-${n % 13}`, `label-${n % 17}`].filter(
            (one, at, all) => all.indexOf(one) === at,
          ),
        },
        waymark: { ...waymark, sequence: step, parent_checkpoint_id: null },
      };
      const checksum = createHash('sha256').update(JSON.stringify(checkpoint)).digest('hex');
      const { seal, ...known } = metadata;
      fs.writeFileSync(
        path.join(dir, `${checkpoint.checkpoint_id}.json`),
        JSON.stringify({ ...checkpoint, metadata: { ...known, checksum } }, null, 2),
      );
    }
  }
  return { manager, runs };
}

/** @param {CheckpointManager} manager @param {number} runs */
async function say(manager, runs) {
  for (let run = 0; run < Math.min(runs, 300); run += 3) {
    const { rows } = await manager.find({ run: `run-${run}`, limit: 2 });
    await manager.fail(`run-${run}`, rows[0].checkpointId, 'bench');
    await manager.pin(`run-${run}`, rows[1].checkpointId, { reason: 'bench' });
  }
}

/**
 * @param {string} folder
 * @param {{ scale: number }} options
 * @returns {Promise<(Row | Gap)[]>}
 */
export async function benchQuery(folder, { scale }) {
  const one = project(path.join(folder, 'one'), Math.round(RUNS * scale));
  const two = project(path.join(folder, 'two'), Math.round(2 * RUNS * scale));
  const all = (one.runs * CHECKPOINTS).toLocaleString('en');
  const rebuilt = [];
  for (const { manager, runs } of [one, two]) {
    const from = performance.now();
    await manager.rebuildIndex();
    if (manager === one.manager) rebuilt.push(performance.now() - from);
    await say(manager, runs);
  }
  /** @type {(Row | Gap)[]} */
  const results = [
    limit('query', `${all} checkpoints: the index made anew`, rebuilt, REBUILD_MS * scale),
  ];
  for (const [what, filter] of Object.entries(QUESTIONS)) {
    const samples = await interleave(
      {
        one: { run: () => one.manager.findSync(filter) },
        two: { run: () => two.manager.findSync(filter) },
      },
      { rounds: 40, warmUp: 5 },
    );
    results.push(
      limit('query', `${all} checkpoints, those ${what}, the first 50`, samples.one, PAGE_MS),
      row('query', `the same in twice as many`, samples.two, {
        base: samples.one,
        baseName: 'half as many',
        bound: 2,
      }),
    );
  }
  const stream = await interleave(
    {
      stream: {
        run: async () => {
          let rows = 0;
          for await (const _ of one.manager.query()) rows += 1;
          if (rows < one.runs * CHECKPOINTS) throw new Error('the stream is not whole');
        },
      },
      manifests: {
        run: async () => {
          let rows = 0;
          for (let run = 0; run < one.runs; run += 1) {
            rows += (await one.manager.list(`run-${run}`)).length;
          }
          if (rows < one.runs * CHECKPOINTS) throw new Error('the lists are not whole');
        },
      },
    },
    { rounds: 3, warmUp: 1 },
  );
  results.push(
    limit('query', `${all} checkpoints as a stream`, stream.stream, STREAM_MS * scale),
    row('query', 'the same by reading the manifests', stream.manifests, {
      base: stream.stream,
      baseName: 'the stream',
    }),
    ...(await besideLangGraph(path.join(folder, 'langgraph.db'), one, all)),
    ...(await costOfIndex(one.manager, folder, all)),
  );
  return results;
}

/**
 * The first page of what both can be asked, of as many checkpoints. LangGraph's rows hold the step's state alone.
 * @param {string} file
 * @param {{ manager: CheckpointManager, runs: number }} one
 * @param {string} all
 * @returns {Promise<(Row | Gap)[]>}
 */
async function besideLangGraph(file, { manager, runs }, all) {
  const graph = await openLangGraph(file);
  /** @param {string} what */
  const name = (what) => `${all} checkpoints, those ${what}, the first 50: LangGraph SQLite list`;
  if ('missing' in graph) {
    return [{ group: 'query', name: name('of a worker'), missing: graph.missing }];
  }
  function* rows() {
    for (let run = 0; run < runs; run += 1) {
      for (let step = 1; step <= CHECKPOINTS; step += 1) {
        const n = run * CHECKPOINTS + step;
        const metadata = { worker: `worker-${n % 11}`, phase: `phase-${n % 5}` };
        yield { thread: `run-${run}`, state: smallState, step: n, metadata };
      }
    }
  }
  await graph.fill(rows());
  /** @type {[string, import('../index.js').QueryFilter, object][]} */
  const questions = [
    ['the newest', {}, {}],
    ['of a worker', { worker: 'worker-3' }, { worker: 'worker-3' }],
  ];
  const results = [];
  for (const [what, filter, theirs] of questions) {
    const samples = await interleave(
      {
        waymark: { run: () => manager.find(filter) },
        langgraph: {
          run: async () => {
            if ((await graph.find(theirs, 50)) !== 50) throw new Error('no 50 rows were found');
          },
        },
      },
      { rounds: 5, warmUp: 1 },
    );
    results.push(
      row('query', name(what), samples.langgraph, { base: samples.waymark, baseName: 'waymark' }),
    );
  }
  graph.close();
  return results;
}

/**
 * What a checkpoint costs where queries have made an index, and where nobody ever asked.
 * @param {CheckpointManager} manager
 * @param {string} folder
 * @param {string} all
 */
async function costOfIndex(manager, folder, all) {
  const store = path.join(folder, 'one', '.waymark');
  const [here, away] = [store, folder].map((place) => path.join(place, 'checkpoints.db'));
  const files = ['', '-wal', '-shm'];
  /** @param {string} from @param {string} to */
  const move = (from, to) => {
    for (const end of files) {
      if (fs.existsSync(from + end)) fs.renameSync(from + end, to + end);
    }
  };
  let step = CHECKPOINTS;
  const create = () => {
    step += 1;
    manager.createSync('run-1', step, smallState);
  };
  manager.findSync({ run: 'run-1' });
  const samples = await interleave(
    {
      index: { run: create },
      none: { before: () => move(here, away), run: create, after: () => move(away, here) },
    },
    { rounds: 100, warmUp: 10 },
  );
  return [
    row('query', `${all} checkpoints: a small create where there is an index`, samples.index, {
      base: samples.none,
      baseName: 'none',
      bound: 1.1,
    }),
  ];
}

/**
 * @param {string} group
 * @param {string} name
 * @param {number[]} samples
 * @param {number} bound in ms
 * @returns {Row}
 */
function limit(group, name, samples, bound) {
  const made = row(group, name, samples, {});
  return { ...made, figure: made.p50, figureUnit: 'ms', bound };
}
