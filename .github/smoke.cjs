// Loads the addon and takes, lists, verifies and restores a checkpoint. Needs nothing installed, so
// that it also runs where the test suite's tools do not: in containers, on other Node versions, in
// Bun and Deno.
//
//   node .github/smoke.cjs [what to require]      default: this repository

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const { CheckpointManager, createCheckpoint, listCheckpoints, restoreFromCheckpoint } = require(
  process.argv[2] ?? '..',
);

async function smoke() {
  const runsDir = fs.mkdtempSync(path.join(os.tmpdir(), 'waymark-smoke-'));
  try {
    const run = path.join(runsDir, 'run-1');
    fs.mkdirSync(run);
    const record = { run_id: 'run-1', workflow_id: 'flow', current_step: 1, status: 'in_progress' };
    fs.writeFileSync(path.join(run, 'run.json'), JSON.stringify(record));

    process.env.WAYMARK_RUNS_DIR = runsDir;
    const { checkpoint_id } = await createCheckpoint('run-1', 1, { from: 'smoke' });
    const listed = await listCheckpoints('run-1');
    assert.deepEqual(
      listed.map((one) => one.checkpoint_id),
      [checkpoint_id],
    );
    const manager = new CheckpointManager({ runsDir });
    assert.equal(manager.createSync('run-1', 2.5, {}).step, 2.5);
    assert.equal((await manager.verify('run-1')).ok, true);
    const restored = await restoreFromCheckpoint('run-1', checkpoint_id);
    assert.equal(restored.restored_step, 1);
    assert.deepEqual(restored.checkpoint.step_state, { from: 'smoke' });
    await assert.rejects(createCheckpoint('../run-1', 1), { code: 'ERR_RUN_ID_INVALID' });
  } finally {
    fs.rmSync(runsDir, { recursive: true, force: true });
  }
}

smoke().then(() => {
  const { platform, arch, versions } = process;
  const { bun, deno, node } = versions;
  const runtime = bun ? `Bun ${bun}` : deno ? `Deno ${deno}` : `Node ${node}`;
  console.log(`ok: ${runtime} on ${platform} ${arch}`);
});
