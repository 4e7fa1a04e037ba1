// The Rust tests: with nextest where it is installed, else with cargo's own runner. With the Node boundary, which needs
// no Node here (its functions are looked up when it is loaded), so that its libraries are built once for all checks.

import { execFileSync, spawnSync } from 'node:child_process';

const nextest = spawnSync('cargo', ['nextest', '--version']).status === 0;
const words = nextest ? ['nextest', 'run', '--no-fail-fast'] : ['test', '--lib', '--tests'];
console.error(`cargo ${words.join(' ')}`);
execFileSync('cargo', words, { stdio: 'inherit' });
