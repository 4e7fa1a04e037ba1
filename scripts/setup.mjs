// Gets a fresh clone ready: packages and the addon, each only if missing or out of date. Uses nothing
// but Node, so that `npm run demo` and `npm test` work on their own.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';

/** @param {string} command @param {string[]} words */
function run(command, words) {
  console.error(`setup: ${command} ${words.join(' ')}`);
  execFileSync(command, words, { cwd: root, stdio: ['ignore', 2, 2], shell: npm !== 'npm' });
}

/** @param {string} file */
const time = (file) => statSync(path.join(root, file)).mtimeMs;

/** @param {string} folder @returns {string[]} */
function filesBelow(folder) {
  return readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)));
}

const installed = 'node_modules/.package-lock.json';
if (!existsSync(path.join(root, installed)) || time(installed) < time('package-lock.json')) {
  // Not `npm ci`: it refuses a lock file that does not name the optional packages of every other
  // platform, and registries that mirror only one platform's can't name them. Versions are the lock
  // file's either way, and it is not written.
  run(npm, ['install', '--no-save', '--ignore-scripts', '--no-audit', '--no-fund']);
}

const binary = readdirSync(root).find((name) => /^waymark\..*\.node$/.test(name));
const sources = ['Cargo.toml', 'Cargo.lock', 'build.rs', 'package.json', ...filesBelow('src')];
if (!binary || sources.some((source) => time(source) > time(binary))) {
  if (spawnSync('cargo', ['--version']).status !== 0) {
    console.error('setup: the addon is built from source here and needs Rust: https://rustup.rs');
    process.exit(1);
  }
  // The gate builds with the profile of the Rust tests: what both need is compiled once.
  run(npm, ['run', '--silent', process.env.WAYMARK_PROFILE === 'dev' ? 'build:dev' : 'build']);
}

// The versions of the two manifests must not drift apart.
const { version } = createRequire(import.meta.url)('../package.json');
const cargo = /^version = "(.*)"$/m.exec(readFileSync(path.join(root, 'Cargo.toml'), 'utf8'))?.[1];
if (cargo !== version) {
  console.error(`setup: Cargo.toml says ${cargo}, package.json says ${version}`);
  process.exit(1);
}
