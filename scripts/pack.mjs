// Packs what is published for this machine: the main package, with its files bundled (bundle.mjs), and the platform
// package with the binary that was built here. Prints the two tarballs' paths, one per line.
//
//   node scripts/pack.mjs [outdir]      without outdir, into a new temporary folder
//
// Nothing is left in the repository: both are made in copies.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { layOut } from './bundle.mjs';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const { packageFor } = require('../lib/native.js');
const windows = process.platform === 'win32';

/** @param {string} message @returns {never} */
function stop(message) {
  console.error(`pack: ${message}`);
  process.exit(1);
}

/** @returns {string} the name of this machine's platform package */
function platformPackage() {
  const report = /** @type {{ header: { glibcVersionRuntime?: string } }} */ (
    /** @type {unknown} */ (process.report.getReport())
  );
  const musl = process.platform === 'linux' && !report.header.glibcVersionRuntime;
  return packageFor({ platform: process.platform, arch: process.arch, musl });
}

/**
 * @param {string} folder a package's folder
 * @param {string} outdir
 * @returns {string} the tarball's path
 */
function pack(folder, outdir) {
  const words = ['pack', '--ignore-scripts', '--silent', '--pack-destination', outdir];
  // npm is a .cmd on Windows, which only a shell starts; a shell wants paths in quotes.
  const given = windows ? words.map((word) => `"${word}"`) : words;
  execFileSync('npm', given, { cwd: folder, stdio: ['ignore', 'ignore', 2], shell: windows });
  const { name, version } = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8'));
  const tarball = path.join(outdir, `${name}-${version}.tgz`);
  if (!fs.existsSync(tarball)) stop(`npm pack left no ${tarball}`);
  return tarball;
}

const wanted = process.argv[2];
const outdir = path.resolve(wanted ?? fs.mkdtempSync(path.join(os.tmpdir(), 'waymark-pack-')));
const between = path.relative(root, outdir);
if (!between.startsWith('..') && !path.isAbsolute(between)) {
  stop(`${outdir} lies in the repository; choose a folder outside`);
}
fs.mkdirSync(outdir, { recursive: true });

const platform = platformPackage().slice('waymark-'.length);
const source = path.join(root, 'npm', platform);
if (!fs.existsSync(source)) stop(`there is no package for this machine: npm/${platform}`);
const binary = path.join(root, `waymark.${platform}.node`);
if (!fs.existsSync(binary)) stop(`${path.basename(binary)} is not built: npm run build`);

const copy = fs.mkdtempSync(path.join(os.tmpdir(), 'waymark-platform-'));
const main = fs.mkdtempSync(path.join(os.tmpdir(), 'waymark-main-'));
try {
  layOut(main);
  fs.cpSync(source, copy, { recursive: true });
  for (const file of [binary, path.join(root, 'LICENSE-MIT'), path.join(root, 'LICENSE-APACHE')]) {
    fs.copyFileSync(file, path.join(copy, path.basename(file)));
  }
  console.log(pack(main, outdir));
  console.log(pack(copy, outdir));
} finally {
  for (const made of [copy, main]) fs.rmSync(made, { recursive: true, force: true });
}
