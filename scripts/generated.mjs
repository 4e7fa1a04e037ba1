// Fails when a generated file is not what the sources give: native.js and native.d.ts.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const out = mkdtempSync(path.join(os.tmpdir(), 'waymark-generated-'));
try {
  // Builds again only what changed; the output goes elsewhere, so that nothing is made current here.
  const words = ['napi', 'build', '--platform', '--release', '--js', 'native.js'];
  execFileSync(
    'npx',
    ['--no-install', ...words, '--dts', 'native.d.ts', '--no-const-enum', '--output-dir', out],
    { stdio: ['ignore', 2, 2], shell: process.platform === 'win32' },
  );
  for (const file of ['native.js', 'native.d.ts']) {
    if (readFileSync(file, 'utf8') !== readFileSync(path.join(out, file), 'utf8')) {
      console.error(`${file} is not current: run "npm run build" and commit it`);
      process.exitCode = 1;
    }
  }
} finally {
  rmSync(out, { recursive: true, force: true });
}
