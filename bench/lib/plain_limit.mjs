// The least that a durable capture has to do, as a program: benches/plain_limit.rs.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { run } from '../peers/backup_tools.mjs';
import { root } from './fixtures.mjs';

/**
 * Builds the program, unless `WAYMARK_PLAIN_LIMIT` names one that is built.
 * @returns {string | { missing: string }}
 */
function program() {
  const given = process.env.WAYMARK_PLAIN_LIMIT;
  if (given) return given;
  const host = spawnSync('rustc', ['-vV'], { encoding: 'utf8' });
  const triple = /^host: (\S+)/m.exec(host.stdout ?? '')?.[1];
  if (triple === undefined) return { missing: 'not built (no Rust)' };
  console.error('building benches/plain_limit.rs');
  // The target is named because the addon's build names it: what both need is compiled once.
  const built = spawnSync(
    'cargo',
    `bench --quiet --bench plain_limit --no-run --message-format=json --target ${triple}`.split(
      ' ',
    ),
    { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 64 << 20 },
  );
  if (built.status !== 0) return { missing: 'not built (see above)' };
  const messages = built.stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line));
  const found = messages.find((one) => one.target?.name === 'plain_limit' && one.executable);
  return found?.executable ?? { missing: 'not built (cargo names no program)' };
}

/** @returns {import('../peers/backup_tools.mjs').Tool | { missing: string }} */
export function plainLimit() {
  const found = program();
  if (typeof found !== 'string') return found;
  return {
    name: 'plain limit, synced',
    open(tree, place) {
      const stored = path.join(place, 'plain');
      fs.mkdirSync(stored);
      let count = 0;
      return {
        stored,
        capture() {
          const since = count === 0 ? 0 : tree.since;
          run(found, [tree.folder, path.join(stored, `${count}`), `${Math.floor(since)}`]);
          count += 1;
        },
      };
    },
  };
}
