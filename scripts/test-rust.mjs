// The Rust tests, without and with the Node boundary: with nextest where it is installed, else with
// cargo's own runner.

import { execFileSync, spawnSync } from 'node:child_process';

const nextest = spawnSync('cargo', ['nextest', '--version']).status === 0;
const words = nextest ? ['nextest', 'run', '--no-fail-fast'] : ['test', '--lib', '--tests'];
for (const features of [['--no-default-features'], ['--lib']]) {
  // With the boundary only the unit tests again: the core's own tests have no use for it.
  const chosen = nextest || features[0] !== '--lib' ? [...words, ...features] : ['test', '--lib'];
  console.error(`cargo ${chosen.join(' ')}`);
  execFileSync('cargo', chosen, { stdio: 'inherit' });
}
