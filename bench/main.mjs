// Runs the benchmarks: all, or those named. `--json <file>` also writes the results as JSON, and
// `--readme` puts them into the README.
//
//   node bench/main.mjs [create] [event_loop] [files] [growing_state] [list] [many_files]
//     [query] [restore] [resume] [startup] [--scale <share of the files and steps>] [--json <file>] [--readme]
//
// Judged are ratios between things measured in turn in the same run, never times.

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { benchCreate } from './create.mjs';
import { benchEventLoop } from './event_loop.mjs';
import { benchFiles, benchManyFiles } from './files.mjs';
import { benchGrowingState } from './growing_state.mjs';
import { fileSystem, makeFolder } from './lib/fixtures.mjs';
import { verdict } from './lib/statistics.mjs';
import { benchList } from './list.mjs';
import { backupTools } from './peers/backup_tools.mjs';
import { benchQuery } from './query.mjs';
import { benchRestore } from './restore.mjs';
import { benchResume } from './resume.mjs';
import { benchStartup } from './startup.mjs';

/**
 * @typedef {import('./lib/statistics.mjs').Row} Row
 * @typedef {import('./lib/statistics.mjs').Gap} Gap
 */

/** @type {Record<string, (folder: string, options: { scale: number }) => Promise<(Row | Gap)[]>>} */
const BENCHMARKS = {
  create: benchCreate,
  event_loop: benchEventLoop,
  files: benchFiles,
  growing_state: benchGrowingState,
  list: benchList,
  many_files: benchManyFiles,
  query: benchQuery,
  restore: benchRestore,
  resume: benchResume,
  startup: benchStartup,
};

// Certificates of a proxy, where a network has one: Node 20 parses all of them at every start, which takes longer than all
// else in it, and says nothing of what is measured here.
delete process.env.NODE_EXTRA_CA_CERTS;

/** @param {number} value */
function short(value) {
  return value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0);
}

/** @param {Row | Gap} result */
function cells(result) {
  if ('missing' in result) return [result.name, `not measured: ${result.missing}`];
  const { name, unit, p50, p90, figure, figureUnit, base, bound } = result;
  const sign = figureUnit === undefined ? '× ' : '';
  const shown =
    figure === undefined ? '' : `${short(figure)} ${figureUnit ?? `× ${base ?? 'base'}`}`;
  return [
    name,
    `${short(p50)} ${unit}`,
    p90 === undefined ? '' : `${short(p90)} ${unit}`,
    shown,
    bound === undefined ? '' : `≤ ${sign}${bound}${figureUnit ? ' ms' : ''}`,
    verdict(result),
  ];
}

/** @param {(Row | Gap)[]} results */
function table(results) {
  const lines = [['', 'p50', 'p90', 'figure', 'bound', ''], ...results.map(cells)];
  const widths = lines[0].map((_, at) =>
    // A reason for a gap runs over the columns behind it.
    Math.max(...lines.map((line) => (line.length > 2 || at === 0 ? (line[at] ?? '').length : 0))),
  );
  return lines
    .map((line) =>
      line
        .map((cell, at) => (at === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[at])))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/**
 * Replaces what stands between the README's two marks.
 * @param {string} about @param {(Row | Gap)[]} results
 */
function intoReadme(about, results) {
  const file = new URL('../README.md', import.meta.url);
  const rows = results.map((result) => `| ${cells(result).join(' | ')} |`);
  const lines = ['| | p50 | p90 | figure | bound | |', '|---|---|---|---|---|---|', ...rows];
  const text = fs.readFileSync(file, 'utf8');
  const shown = `<!-- bench -->\n${lines.join('\n')}\n\n${about}.\n<!-- /bench -->`;
  fs.writeFileSync(
    file,
    text.replace(/<!-- bench -->[\s\S]*<!-- \/bench -->/, () => shown),
  );
}

async function main() {
  const { values, positionals } = parseArgs({
    options: {
      json: { type: 'string' },
      readme: { type: 'boolean' },
      scale: { type: 'string', default: '1' },
    },
    allowPositionals: true,
  });
  const chosen = positionals.length > 0 ? positionals : Object.keys(BENCHMARKS);
  const unknown = chosen.filter((name) => !Object.hasOwn(BENCHMARKS, name));
  if (unknown.length > 0) {
    console.error(
      `unknown: ${unknown.join(', ')}; known are ${Object.keys(BENCHMARKS).join(', ')}`,
    );
    process.exitCode = 1;
    return;
  }
  const scale = Number(values.scale);
  if (!(scale > 0)) {
    console.error(`--scale is a number above 0, not ${values.scale}`);
    process.exitCode = 1;
    return;
  }
  if (values.readme && (positionals.length > 0 || scale !== 1)) {
    console.error('--readme replaces the whole table: it goes with neither names nor --scale');
    process.exitCode = 1;
    return;
  }
  const folder = makeFolder();
  const machine = {
    cpu: os.cpus()[0]?.model ?? 'unknown',
    cores: os.availableParallelism(),
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    fileSystem: fileSystem(folder),
    load: os.loadavg()[0],
    scale,
    peers: backupTools().versions,
    date: new Date().toISOString(),
  };
  const about =
    `${machine.cpu}, ${machine.cores} cores, ${machine.platform}, Node ${machine.node}, ` +
    `${machine.fileSystem}, load ${machine.load.toFixed(1)}, ` +
    `${[...machine.peers, ...(scale === 1 ? [] : [`scale ${scale}`])].join(', ')}, ${machine.date}`;
  console.log(`${about}\n`);
  /** @type {(Row | Gap)[]} */
  const results = [];
  // Also when interrupted: 10,000 runs are a lot to leave behind.
  const leave = () => fs.rmSync(folder, { recursive: true, force: true });
  process.on('exit', leave);
  process.once('SIGINT', () => process.exit(130));
  process.once('SIGTERM', () => process.exit(143));
  for (const name of chosen) {
    const from = performance.now();
    const place = path.join(folder, name);
    fs.mkdirSync(place);
    results.push(...(await BENCHMARKS[name](place, { scale })));
    console.error(`${name}: ${((performance.now() - from) / 1000).toFixed(0)} s`);
  }
  console.log(table(results));
  if (values.readme) intoReadme(about, results);
  if (values.json) {
    const judged = results.map((one) =>
      'missing' in one ? one : { ...one, verdict: verdict(one) },
    );
    fs.writeFileSync(values.json, `${JSON.stringify({ machine, results: judged }, null, 2)}\n`);
  }
}

await main();
